-- Which refusals are ours, said once: `trigger` of `events`, computed when it is read. Text that the client wrote must
-- not count, and stands in the MTA's refusals: HELO name, sender, recipient. streams/audit/hits.py says the same and why.
-- Rows that rollups have counted before keep their count.
ALTER TABLE events
    ADD COLUMN IF NOT EXISTS trigger LowCardinality(String) ALIAS if(code >= 400
        AND position(detail, 'Go away: ') > 0
        AND match(detail, '^([0-9]{3}[ -])?([0-9][.][0-9]+[.][0-9]+ )?(<.*>: [A-Za-z -]+ rejected: )?Go away: ')
        AND NOT match(detail, 'Go away: .*>: | proto=.*Go away: |> sasl_.*Go away: ')
        AND greatest(length(detail), length(helo), length(sender), length(recipient)) < 510
        AND position(concat(helo, '\n', sender, '\n', recipient), 'Go away') = 0, multiIf(
        multiSearchAny(detail, ['Go away: exceeded connection rate limit']), 'rate',
        multiSearchAny(detail, ['Go away: IP listed in DNSBL']), 'reputation',
        multiSearchAny(detail, ['Go away: greylist policy: no retry', 'Go away: greylisted, retry in']), 'greylist',
        multiSearchAny(detail, ['Go away: SMTP protocol violation']), 'protocol',
        multiSearchAny(detail, ['Go away: blocked by administrator']), 'blocklist',
        'other'), '') COMMENT 'whose reason it gives, where it is ours: rate, reputation, greylist, protocol, blocklist, other; empty for the MTA\'s own' AFTER frame_index;
ALTER TABLE clients_by_minute_view
    MODIFY QUERY
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
    countIf(trigger != '') AS go_aways,
    countIf(code = 451 AND trigger != '') AS deferrals,
    countIf(kind = 'violation') AS violations,
    countIf(kind = 'auth') AS logins,
    countIf(kind = 'auth_failure') AS login_failures,
    min(at) AS first_at,
    max(at) AS last_at
FROM events
WHERE kind NOT IN ('policy', 'forget', 'learnt', 'reputation')
GROUP BY period, client, host;
ALTER TABLE clients_by_hour_view
    MODIFY QUERY
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
    countIf(trigger != '') AS go_aways,
    countIf(code = 451 AND trigger != '') AS deferrals,
    countIf(kind = 'violation') AS violations,
    countIf(kind = 'auth') AS logins,
    countIf(kind = 'auth_failure') AS login_failures,
    min(at) AS first_at,
    max(at) AS last_at
FROM events
WHERE kind NOT IN ('policy', 'forget', 'learnt', 'reputation')
GROUP BY period, client, host;
ALTER TABLE clients_by_day_view
    MODIFY QUERY
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
    countIf(trigger != '') AS go_aways,
    countIf(code = 451 AND trigger != '') AS deferrals,
    countIf(kind = 'violation') AS violations,
    countIf(kind = 'auth') AS logins,
    countIf(kind = 'auth_failure') AS login_failures,
    min(at) AS first_at,
    max(at) AS last_at
FROM events
WHERE kind NOT IN ('policy', 'forget', 'learnt', 'reputation')
GROUP BY period, client, host;
ALTER TABLE traffic_by_minute_view
    MODIFY QUERY
SELECT
    toStartOfMinute(at) AS period,
    host,
    trigger,
    count() AS events,
    countIf(kind = 'connect') AS connections,
    countIf(kind = 'mail') AS requests,
    countIf(kind = 'message') AS messages,
    countIf(code >= 400 AND recipient != '') AS recipients_refused,
    sumIf(size, kind = 'message') AS bytes,
    countIf(code >= 400) AS refusals,
    countIf(trigger != '') AS go_aways,
    countIf(code = 451 AND trigger != '') AS deferrals,
    countIf(kind = 'violation') AS violations,
    countIf(kind = 'auth') AS logins,
    countIf(kind = 'auth_failure') AS login_failures,
    min(at) AS first_at,
    max(at) AS last_at
FROM events
WHERE kind NOT IN ('policy', 'forget', 'learnt', 'reputation')
GROUP BY period, host, trigger;
ALTER TABLE refusals_view
    MODIFY QUERY
SELECT
    at,
    client,
    code,
    host,
    trigger,
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
    countIf(trigger != '') AS go_aways,
    countIf(code = 451 AND trigger != '') AS deferrals,
    countIf(kind = 'violation') AS violations,
    countIf(kind = 'auth') AS logins,
    countIf(kind = 'auth_failure') AS login_failures,
    min(at) AS first_at,
    max(at) AS last_at,
    tuple(toDateTime(maxIf(at, ptr != ''), 'UTC'), argMaxIf(ptr, at, ptr != '')) AS named
FROM events
WHERE kind NOT IN ('policy', 'forget', 'learnt', 'reputation')
GROUP BY period, client, host;
