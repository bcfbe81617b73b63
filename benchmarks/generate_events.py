"""Millions of generated events in ClickHouse, made by the engine itself; the views keep the rollups.

    python benchmarks/generate_events.py [--events N] [--days N] --data DIR

DIR becomes the data folder of an embedded ClickHouse; without `--data`, the server of `GOAWAY_CLICKHOUSE` and
its companions is filled, whose tables `goaway db migrate` makes. What is there already is added to.

The traffic: 40 % of connections come from 200 heavy clients, most from the first few; the rest from a long
tail of five million, one in four of them IPv6. Of the heavy clients' connections two thirds are refused by
Goaway (551), of the others one in ten (571); the rest bring a message, a recipient unknown, a violation or a
failed login. Connections follow each other evenly, and events of one connection at 0.2 s.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.migrations import migrate
from streams.config import read_settings
from streams.embedded.clickhouse import EmbeddedClickHouse

ENDS: Final = "2026-02-01 00:00:00"
CLIENTS: Final = 5_000_000
HEAVY: Final = 200
_AT_ONCE: Final = 1_000_000
_OF_SESSION: Final = 5

# s: number of the connection; k: which event of it; u, v: two independent numbers in [0, 1)
_EVENTS: Final = """
INSERT INTO events
SELECT
    at, kind, client, address, session, host, service, ptr, helo, sender, recipient, queue_id, sasl_user,
    violation, code, detail, size, 0 AS ttl_s, source, position, id,
    1 AS kafka_epoch, cityHash64(client) % 4 AS kafka_partition, intDiv(number, 20) AS kafka_offset,
    number % 20 AS frame_index
FROM (
    SELECT
        number,
        intDiv(number, 5) AS s,
        number % 5 AS k,
        cityHash64(s, 'u') / 18446744073709551616. AS u,
        cityHash64(s, 'v') / 18446744073709551616. AS v,
        u < 0.4 AS heavy,
        toUInt32(if(heavy, {heavy} * pow(v, 3), {clients} * pow(v, 1.3))) AS who,
        cityHash64(who, heavy) AS h,
        NOT heavy AND h % 4 = 0 AS six,
        if(six,
            concat('2001:db8:', lower(hex(toUInt16(who % 65536))), ':',
                lower(hex(toUInt16(intDiv(who, 65536) + 1))), '::'),
            concat(toString(16 + heavy * 180), '.', toString(intDiv(who, 65025) % 255), '.',
                toString(intDiv(who, 255) % 255), '.', toString(who % 255))) AS network,
        if(six, concat(network, '/64'), network) AS client,
        toIPv6(if(six, concat(network, '1'), network)) AS address,
        cityHash64(s, 'way') % 1000 AS way,
        multiIf(heavy AND way < 667, 551, NOT heavy AND way < 100, 571, way >= 970, 550, 0) AS refused,
        multiIf(
            k = 0, 'connect',
            k = 4, 'disconnect',
            refused = 551, if(k = 1, 'refusal', ''),
            refused = 571, multiIf(k = 1, 'helo', k = 2, 'mail', ''),
            refused = 550, multiIf(k = 1, 'helo', k = 2, 'mail', 'rcpt'),
            way < 700, if(k = 1, 'violation', ''),
            way < 720, if(k = 1, 'auth_failure', 'auth_failure'),
            multiIf(k = 1, 'helo', k = 2, 'mail', 'message')) AS kind_or_none,
        if(kind_or_none = '', 'connect', kind_or_none) AS kind,
        fromUnixTimestamp64Micro(toInt64({starts} + s * {step} + k * 200000 + h % 100000), 'UTC') AS at,
        concat('mx', toString(s % 3 + 1)) AS host_name,
        concat(host_name, '.example.org') AS host,
        concat(host_name, '/', toString(s % 30000 + 1000)) AS session,
        'smtpd' AS service,
        if(h % 3 = 0, '', concat('host-', lower(hex(toUInt32(h))), '.example.net')) AS ptr,
        if(k = 0, '', concat('mail', toString(h % 1000), '.example.net')) AS helo,
        kind IN ('mail', 'rcpt', 'message') AS envelope,
        if(envelope, concat('user', toString(h % 50000), '@example.net'), '') AS sender,
        concat('person', toString(cityHash64(s) % 20000), '@example.org') AS somebody,
        if(envelope AND kind != 'message', somebody, '') AS recipient,
        if(envelope AND refused = 0, upper(hex(toUInt32(cityHash64(s, 'q')))), '') AS queue_id,
        '' AS sasl_user,
        if(kind = 'violation', ['pipelining', 'pregreet', 'non-SMTP command'][s % 3 + 1], '') AS violation,
        toUInt16(if(kind IN ('refusal', 'rcpt') OR (kind = 'mail' AND refused > 0), refused, 0)) AS code,
        multiIf(
            code = 551, '5.7.1 Go away: exceeded connection rate limit',
            code = 571, '5.7.1 Go away: IP listed in DNSBL: [Spamhaus]',
            code = 550, concat('5.1.1 <', recipient, '>: Recipient address rejected: User unknown'),
            kind = 'message', concat('message-id=<', lower(hex(cityHash64(s, 'm'))), '@example.net>'),
            kind = 'disconnect', 'ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5', '') AS detail,
        if(kind = 'message', 1500 + cityHash64(s, 'size') % 60000, 0) AS size,
        concat(host_name, ':/var/log/mail.log#1') AS source,
        number * 131 AS position,
        lower(hex(cityHash64(number))) AS id
    FROM numbers({first}, {count})
)
WHERE kind_or_none != ''
ORDER BY client, at
SETTINGS max_insert_threads = 1, min_insert_block_size_rows = 2000000,
    min_insert_block_size_bytes = 4000000000
"""

_DAY_US: Final = 86_400_000_000

_DECISIONS: Final = """
INSERT INTO decisions (at, until, action, client, address, trigger, rule, code, reason, evidence_count,
    evidence_limit, evidence_window_s, policy, event, session, host, id, kafka_epoch, kafka_partition,
    kafka_offset)
SELECT at, at + INTERVAL 10 MINUTE, 'block', client, address, if(code = 551, 'rate', 'reputation'),
    if(code = 551, 'requests_per_minute', 'zen.spamhaus.org'), code,
    if(code = 551, 'exceeded connection rate limit', 'IP listed in DNSBL: [Spamhaus]'), 31, 30, 60,
    'generated', id, session, host, lower(hex(cityHash64(id, 'decision'))), 1, kafka_partition, kafka_offset
FROM events
WHERE code IN (551, 571) AND cityHash64(id) % 20 = 0 AND at >= fromUnixTimestamp64Micro({starts}, 'UTC')
    AND at < fromUnixTimestamp64Micro({ends}, 'UTC')
"""


def generate(clickhouse: ClickHouse, events: int, *, days: int = 31) -> int:
    """Put about so many events into `events` (in whole connections), and decisions to go with them.

    They lie in the `days` days before `ENDS`. The number of rows that came.
    """
    before = _count(clickhouse)
    # of five events a connection could have, about 3.6 come
    numbers = int(events / 0.7235)
    [(ends,)] = clickhouse.rows(f"SELECT toUnixTimestamp(toDateTime('{ENDS}', 'UTC')) * 1000000")
    span = days * _DAY_US
    starts = int(ends) - span
    step = max(1, (span - 10_000_000) // (numbers // _OF_SESSION + 1))
    for first in range(0, numbers, _AT_ONCE):
        clickhouse.command(
            _EVENTS.format(
                heavy=HEAVY,
                clients=CLIENTS,
                starts=starts,
                step=step,
                first=first,
                count=min(_AT_ONCE, numbers - first),
            )
        )
    for day in range(starts, int(ends), _DAY_US):
        clickhouse.command(_DECISIONS.format(starts=day, ends=day + _DAY_US))
    return _count(clickhouse) - before


def _count(clickhouse: ClickHouse) -> int:
    return int(clickhouse.rows("SELECT count() FROM events")[0][0])


def main() -> None:
    """Fill a folder or a server, and say how long it took."""
    options = argparse.ArgumentParser(description="Generated events in ClickHouse")
    options.add_argument("--events", type=int, default=10_000_000)
    options.add_argument("--days", type=int, default=31)
    options.add_argument("--data", type=Path)
    wanted = options.parse_args()
    engine = EmbeddedClickHouse() if wanted.data else None
    try:
        settings = engine.start(wanted.data) if engine else read_settings(os.environ).clickhouse
        clickhouse = ClickHouse(settings)
        migrate(clickhouse)
        began = time.perf_counter()
        rows = generate(clickhouse, wanted.events, days=wanted.days)
        took = time.perf_counter() - began
        clickhouse.close()
    finally:
        if engine:
            engine.stop()
    print(json.dumps({"events": rows, "seconds": round(took, 1), "rows_per_s": round(rows / took)}))


if __name__ == "__main__":
    main()
