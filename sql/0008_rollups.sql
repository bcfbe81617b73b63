-- What each client did, by minute, hour, day and month (UTC): kept by views of `events` as rows arrive, so that a
-- question about a month reads thousands of rows and not millions. A row may be in several parts: always sum().
-- Rows stored before are added by `goaway db migrate` and, exactly, by the sink (streams/audit/rollups.py).
-- Kinds policy, forget, learnt and reputation are no client's doing and are left out.
CREATE TABLE IF NOT EXISTS clients_by_minute
(
    period DateTime('UTC') COMMENT 'when the minute begins' CODEC(Delta, ZSTD(1)),
    client String COMMENT 'the key that counters hang on: 192.0.2.7 or 2001:db8::/64' CODEC(ZSTD(1)),
    host LowCardinality(String) COMMENT 'the MTA\'s own host name',
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'events of the period, of whatever kind a client can bring about' CODEC(T64, ZSTD(1)),
    connections SimpleAggregateFunction(sum, UInt64) COMMENT 'connections opened' CODEC(T64, ZSTD(1)),
    requests SimpleAggregateFunction(sum, UInt64) COMMENT 'MAIL transactions, refused ones as well' CODEC(T64, ZSTD(1)),
    messages SimpleAggregateFunction(sum, UInt64) COMMENT 'messages that were queued' CODEC(T64, ZSTD(1)),
    recipients_refused SimpleAggregateFunction(sum, UInt64) COMMENT 'recipients that were refused' CODEC(T64, ZSTD(1)),
    bytes SimpleAggregateFunction(sum, UInt64) COMMENT 'bytes of the messages that were queued' CODEC(T64, ZSTD(1)),
    refusals SimpleAggregateFunction(sum, UInt64) COMMENT 'refusals, by whomever: reply code 400 and above' CODEC(T64, ZSTD(1)),
    go_aways SimpleAggregateFunction(sum, UInt64) COMMENT 'those of them that Goaway spoke, deferrals included: the text opens with Go away' CODEC(T64, ZSTD(1)),
    deferrals SimpleAggregateFunction(sum, UInt64) COMMENT 'those of them that ask to come back: 451' CODEC(T64, ZSTD(1)),
    violations SimpleAggregateFunction(sum, UInt64) COMMENT 'SMTP protocol violations' CODEC(T64, ZSTD(1)),
    logins SimpleAggregateFunction(sum, UInt64) COMMENT 'SASL logins that succeeded' CODEC(T64, ZSTD(1)),
    login_failures SimpleAggregateFunction(sum, UInt64) COMMENT 'SASL logins that failed' CODEC(T64, ZSTD(1)),
    first_at SimpleAggregateFunction(min, DateTime64(6, 'UTC')) COMMENT 'the first of these events' CODEC(Delta, ZSTD(1)),
    last_at SimpleAggregateFunction(max, DateTime64(6, 'UTC')) COMMENT 'the last of these events' CODEC(Delta, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(period)
ORDER BY (client, period, host)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'what each client did, by minute';
CREATE TABLE IF NOT EXISTS clients_by_hour
(
    period DateTime('UTC') COMMENT 'when the hour begins' CODEC(Delta, ZSTD(1)),
    client String COMMENT 'the key that counters hang on: 192.0.2.7 or 2001:db8::/64' CODEC(ZSTD(1)),
    host LowCardinality(String) COMMENT 'the MTA\'s own host name',
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'events of the period, of whatever kind a client can bring about' CODEC(T64, ZSTD(1)),
    connections SimpleAggregateFunction(sum, UInt64) COMMENT 'connections opened' CODEC(T64, ZSTD(1)),
    requests SimpleAggregateFunction(sum, UInt64) COMMENT 'MAIL transactions, refused ones as well' CODEC(T64, ZSTD(1)),
    messages SimpleAggregateFunction(sum, UInt64) COMMENT 'messages that were queued' CODEC(T64, ZSTD(1)),
    recipients_refused SimpleAggregateFunction(sum, UInt64) COMMENT 'recipients that were refused' CODEC(T64, ZSTD(1)),
    bytes SimpleAggregateFunction(sum, UInt64) COMMENT 'bytes of the messages that were queued' CODEC(T64, ZSTD(1)),
    refusals SimpleAggregateFunction(sum, UInt64) COMMENT 'refusals, by whomever: reply code 400 and above' CODEC(T64, ZSTD(1)),
    go_aways SimpleAggregateFunction(sum, UInt64) COMMENT 'those of them that Goaway spoke, deferrals included: the text opens with Go away' CODEC(T64, ZSTD(1)),
    deferrals SimpleAggregateFunction(sum, UInt64) COMMENT 'those of them that ask to come back: 451' CODEC(T64, ZSTD(1)),
    violations SimpleAggregateFunction(sum, UInt64) COMMENT 'SMTP protocol violations' CODEC(T64, ZSTD(1)),
    logins SimpleAggregateFunction(sum, UInt64) COMMENT 'SASL logins that succeeded' CODEC(T64, ZSTD(1)),
    login_failures SimpleAggregateFunction(sum, UInt64) COMMENT 'SASL logins that failed' CODEC(T64, ZSTD(1)),
    first_at SimpleAggregateFunction(min, DateTime64(6, 'UTC')) COMMENT 'the first of these events' CODEC(Delta, ZSTD(1)),
    last_at SimpleAggregateFunction(max, DateTime64(6, 'UTC')) COMMENT 'the last of these events' CODEC(Delta, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(period)
ORDER BY (client, period, host)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'what each client did, by hour';
CREATE TABLE IF NOT EXISTS clients_by_day
(
    period DateTime('UTC') COMMENT 'when the day begins' CODEC(Delta, ZSTD(1)),
    client String COMMENT 'the key that counters hang on: 192.0.2.7 or 2001:db8::/64' CODEC(ZSTD(1)),
    host LowCardinality(String) COMMENT 'the MTA\'s own host name',
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'events of the period, of whatever kind a client can bring about' CODEC(T64, ZSTD(1)),
    connections SimpleAggregateFunction(sum, UInt64) COMMENT 'connections opened' CODEC(T64, ZSTD(1)),
    requests SimpleAggregateFunction(sum, UInt64) COMMENT 'MAIL transactions, refused ones as well' CODEC(T64, ZSTD(1)),
    messages SimpleAggregateFunction(sum, UInt64) COMMENT 'messages that were queued' CODEC(T64, ZSTD(1)),
    recipients_refused SimpleAggregateFunction(sum, UInt64) COMMENT 'recipients that were refused' CODEC(T64, ZSTD(1)),
    bytes SimpleAggregateFunction(sum, UInt64) COMMENT 'bytes of the messages that were queued' CODEC(T64, ZSTD(1)),
    refusals SimpleAggregateFunction(sum, UInt64) COMMENT 'refusals, by whomever: reply code 400 and above' CODEC(T64, ZSTD(1)),
    go_aways SimpleAggregateFunction(sum, UInt64) COMMENT 'those of them that Goaway spoke, deferrals included: the text opens with Go away' CODEC(T64, ZSTD(1)),
    deferrals SimpleAggregateFunction(sum, UInt64) COMMENT 'those of them that ask to come back: 451' CODEC(T64, ZSTD(1)),
    violations SimpleAggregateFunction(sum, UInt64) COMMENT 'SMTP protocol violations' CODEC(T64, ZSTD(1)),
    logins SimpleAggregateFunction(sum, UInt64) COMMENT 'SASL logins that succeeded' CODEC(T64, ZSTD(1)),
    login_failures SimpleAggregateFunction(sum, UInt64) COMMENT 'SASL logins that failed' CODEC(T64, ZSTD(1)),
    first_at SimpleAggregateFunction(min, DateTime64(6, 'UTC')) COMMENT 'the first of these events' CODEC(Delta, ZSTD(1)),
    last_at SimpleAggregateFunction(max, DateTime64(6, 'UTC')) COMMENT 'the last of these events' CODEC(Delta, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(period)
ORDER BY (client, period, host)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'what each client did, by day';
CREATE TABLE IF NOT EXISTS clients_by_month
(
    period DateTime('UTC') COMMENT 'when the month begins' CODEC(Delta, ZSTD(1)),
    client String COMMENT 'the key that counters hang on: 192.0.2.7 or 2001:db8::/64' CODEC(ZSTD(1)),
    host LowCardinality(String) COMMENT 'the MTA\'s own host name',
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'events of the period, of whatever kind a client can bring about' CODEC(T64, ZSTD(1)),
    connections SimpleAggregateFunction(sum, UInt64) COMMENT 'connections opened' CODEC(T64, ZSTD(1)),
    requests SimpleAggregateFunction(sum, UInt64) COMMENT 'MAIL transactions, refused ones as well' CODEC(T64, ZSTD(1)),
    messages SimpleAggregateFunction(sum, UInt64) COMMENT 'messages that were queued' CODEC(T64, ZSTD(1)),
    recipients_refused SimpleAggregateFunction(sum, UInt64) COMMENT 'recipients that were refused' CODEC(T64, ZSTD(1)),
    bytes SimpleAggregateFunction(sum, UInt64) COMMENT 'bytes of the messages that were queued' CODEC(T64, ZSTD(1)),
    refusals SimpleAggregateFunction(sum, UInt64) COMMENT 'refusals, by whomever: reply code 400 and above' CODEC(T64, ZSTD(1)),
    go_aways SimpleAggregateFunction(sum, UInt64) COMMENT 'those of them that Goaway spoke, deferrals included: the text opens with Go away' CODEC(T64, ZSTD(1)),
    deferrals SimpleAggregateFunction(sum, UInt64) COMMENT 'those of them that ask to come back: 451' CODEC(T64, ZSTD(1)),
    violations SimpleAggregateFunction(sum, UInt64) COMMENT 'SMTP protocol violations' CODEC(T64, ZSTD(1)),
    logins SimpleAggregateFunction(sum, UInt64) COMMENT 'SASL logins that succeeded' CODEC(T64, ZSTD(1)),
    login_failures SimpleAggregateFunction(sum, UInt64) COMMENT 'SASL logins that failed' CODEC(T64, ZSTD(1)),
    first_at SimpleAggregateFunction(min, DateTime64(6, 'UTC')) COMMENT 'the first of these events' CODEC(Delta, ZSTD(1)),
    last_at SimpleAggregateFunction(max, DateTime64(6, 'UTC')) COMMENT 'the last of these events' CODEC(Delta, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(period)
ORDER BY (client, period, host)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'what each client did, by month';
CREATE MATERIALIZED VIEW IF NOT EXISTS clients_by_minute_view TO clients_by_minute AS
SELECT
    toStartOfMinute(at) AS period,
    client,
    host,
    count() AS events,
    countIf(kind = 'connect') AS connections,
    countIf(kind = 'mail') AS requests,
    countIf(kind = 'message') AS messages,
    countIf(code >= 400 AND recipient != '') AS recipients_refused,
    sumIf(size, kind = 'message') AS bytes,
    countIf(code >= 400) AS refusals,
    countIf(code >= 400 AND position(detail, 'Go away: ') > 0) AS go_aways,
    countIf(code = 451 AND position(detail, 'Go away: ') > 0) AS deferrals,
    countIf(kind = 'violation') AS violations,
    countIf(kind = 'auth') AS logins,
    countIf(kind = 'auth_failure') AS login_failures,
    min(at) AS first_at,
    max(at) AS last_at
FROM events
WHERE kind NOT IN ('policy', 'forget', 'learnt', 'reputation')
GROUP BY period, client, host;
CREATE MATERIALIZED VIEW IF NOT EXISTS clients_by_hour_view TO clients_by_hour AS
SELECT
    toStartOfHour(at) AS period,
    client,
    host,
    count() AS events,
    countIf(kind = 'connect') AS connections,
    countIf(kind = 'mail') AS requests,
    countIf(kind = 'message') AS messages,
    countIf(code >= 400 AND recipient != '') AS recipients_refused,
    sumIf(size, kind = 'message') AS bytes,
    countIf(code >= 400) AS refusals,
    countIf(code >= 400 AND position(detail, 'Go away: ') > 0) AS go_aways,
    countIf(code = 451 AND position(detail, 'Go away: ') > 0) AS deferrals,
    countIf(kind = 'violation') AS violations,
    countIf(kind = 'auth') AS logins,
    countIf(kind = 'auth_failure') AS login_failures,
    min(at) AS first_at,
    max(at) AS last_at
FROM events
WHERE kind NOT IN ('policy', 'forget', 'learnt', 'reputation')
GROUP BY period, client, host;
CREATE MATERIALIZED VIEW IF NOT EXISTS clients_by_day_view TO clients_by_day AS
SELECT
    toStartOfDay(at) AS period,
    client,
    host,
    count() AS events,
    countIf(kind = 'connect') AS connections,
    countIf(kind = 'mail') AS requests,
    countIf(kind = 'message') AS messages,
    countIf(code >= 400 AND recipient != '') AS recipients_refused,
    sumIf(size, kind = 'message') AS bytes,
    countIf(code >= 400) AS refusals,
    countIf(code >= 400 AND position(detail, 'Go away: ') > 0) AS go_aways,
    countIf(code = 451 AND position(detail, 'Go away: ') > 0) AS deferrals,
    countIf(kind = 'violation') AS violations,
    countIf(kind = 'auth') AS logins,
    countIf(kind = 'auth_failure') AS login_failures,
    min(at) AS first_at,
    max(at) AS last_at
FROM events
WHERE kind NOT IN ('policy', 'forget', 'learnt', 'reputation')
GROUP BY period, client, host;
CREATE MATERIALIZED VIEW IF NOT EXISTS clients_by_month_view TO clients_by_month AS
SELECT
    toDateTime(toStartOfMonth(at), 'UTC') AS period,
    client,
    host,
    count() AS events,
    countIf(kind = 'connect') AS connections,
    countIf(kind = 'mail') AS requests,
    countIf(kind = 'message') AS messages,
    countIf(code >= 400 AND recipient != '') AS recipients_refused,
    sumIf(size, kind = 'message') AS bytes,
    countIf(code >= 400) AS refusals,
    countIf(code >= 400 AND position(detail, 'Go away: ') > 0) AS go_aways,
    countIf(code = 451 AND position(detail, 'Go away: ') > 0) AS deferrals,
    countIf(kind = 'violation') AS violations,
    countIf(kind = 'auth') AS logins,
    countIf(kind = 'auth_failure') AS login_failures,
    min(at) AS first_at,
    max(at) AS last_at
FROM events
WHERE kind NOT IN ('policy', 'forget', 'learnt', 'reputation')
GROUP BY period, client, host;
-- Decisions are few, and one may be emitted twice by design: counted by id when asked, so that it is always right.
CREATE VIEW IF NOT EXISTS decisions_by_day AS
SELECT
    toDate(at, 'UTC') AS period,
    client,
    trigger,
    rule,
    shadow,
    uniqExactIf(id, action = 'block') AS blocks,
    uniqExactIf(id, action = 'release') AS releases,
    toUInt64(0) AS warnings
FROM decisions
GROUP BY period, client, trigger, rule, shadow
UNION ALL
SELECT
    toDate(at, 'UTC') AS period,
    client,
    if(about = 'limit', 'rate', about) AS trigger,
    rule,
    false AS shadow,
    toUInt64(0) AS blocks,
    toUInt64(0) AS releases,
    uniqExact(id) AS warnings
FROM warnings
GROUP BY period, client, trigger, rule, shadow
COMMENT 'decisions and warnings by day, client and what brought them about';
