-- For questions about everybody, which rows by client answer slowly: what all clients together did, by minute; every
-- refusal in the order of time; each client's newest name. Kept by views like the rollups (0008), and mended like them.
-- The texts are the defaults of [replies]; a test holds them to streams/audit/hits.py.
CREATE TABLE IF NOT EXISTS traffic_by_minute
(
    period DateTime('UTC') COMMENT 'when the minute begins' CODEC(Delta, ZSTD(1)),
    host LowCardinality(String) COMMENT 'the MTA\'s own host name',
    trigger LowCardinality(String) COMMENT 'whose reason a refusal of ours gives: rate, reputation, greylist, protocol, blocklist, other; empty for all else',
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
ORDER BY (period, host, trigger)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'what all clients together did, by minute';
CREATE TABLE IF NOT EXISTS refusals
(
    at DateTime64(6, 'UTC') COMMENT 'when it happened, by the MTA\'s log' CODEC(Delta, ZSTD(1)),
    client String COMMENT 'the key that counters hang on: 192.0.2.7 or 2001:db8::/64' CODEC(ZSTD(1)),
    code UInt16 COMMENT 'SMTP reply code: 400 and above' CODEC(ZSTD(1)),
    host LowCardinality(String) COMMENT 'the MTA\'s own host name',
    trigger LowCardinality(String) COMMENT 'whose reason it gives, where it is ours: rate, reputation, greylist, protocol, blocklist, other; empty for the MTA\'s own',
    refusals SimpleAggregateFunction(sum, UInt64) COMMENT 'how many there were' CODEC(T64, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (at, client, code, host, trigger)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'refusals in the order of time: where in events they are';
ALTER TABLE clients_by_month
    ADD COLUMN IF NOT EXISTS named SimpleAggregateFunction(max, Tuple(at DateTime('UTC'), name String)) COMMENT 'its newest verified name, and when it was seen; empty when there is none' CODEC(ZSTD(1)) AFTER last_at;
CREATE MATERIALIZED VIEW IF NOT EXISTS traffic_by_minute_view TO traffic_by_minute AS
SELECT
    toStartOfMinute(at) AS period,
    host,
    if(code >= 400 AND position(detail, 'Go away: ') > 0, multiIf(
        multiSearchAny(detail, ['Go away: exceeded connection rate limit']), 'rate',
        multiSearchAny(detail, ['Go away: IP listed in DNSBL']), 'reputation',
        multiSearchAny(detail, ['Go away: greylist policy: no retry', 'Go away: greylisted, retry in']), 'greylist',
        multiSearchAny(detail, ['Go away: SMTP protocol violation']), 'protocol',
        multiSearchAny(detail, ['Go away: blocked by administrator']), 'blocklist',
        'other'), '') AS trigger,
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
GROUP BY period, host, trigger;
CREATE MATERIALIZED VIEW IF NOT EXISTS refusals_view TO refusals AS
SELECT
    at,
    client,
    code,
    host,
    if(code >= 400 AND position(detail, 'Go away: ') > 0, multiIf(
        multiSearchAny(detail, ['Go away: exceeded connection rate limit']), 'rate',
        multiSearchAny(detail, ['Go away: IP listed in DNSBL']), 'reputation',
        multiSearchAny(detail, ['Go away: greylist policy: no retry', 'Go away: greylisted, retry in']), 'greylist',
        multiSearchAny(detail, ['Go away: SMTP protocol violation']), 'protocol',
        multiSearchAny(detail, ['Go away: blocked by administrator']), 'blocklist',
        'other'), '') AS trigger,
    count() AS refusals
FROM events
WHERE code >= 400 AND kind NOT IN ('policy', 'forget', 'learnt', 'reputation')
GROUP BY at, client, code, host, trigger;
ALTER TABLE clients_by_month_view
    MODIFY QUERY
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
    max(at) AS last_at,
    tuple(toDateTime(maxIf(at, ptr != ''), 'UTC'), argMaxIf(ptr, at, ptr != '')) AS named
FROM events
WHERE kind NOT IN ('policy', 'forget', 'learnt', 'reputation')
GROUP BY period, client, host;
