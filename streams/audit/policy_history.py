"""What the policy was, and who changed it: `policy_log` read as every follower reads `smtp.policy`.

Which commits are accepted, and which entries they put in force, is for `PolicyLog` alone to say: the rows
go through it in the order of the log, each life of the topic (`kafka_epoch`) by itself. So the time this
takes grows with the records of a life.
"""

from collections.abc import Iterator
from typing import Any, Final

from streams.audit.clickhouse import ClickHouse
from streams.config import ClickHouseSettings
from streams.model.instant import Instant
from streams.wire.policy_entries import Entries
from streams.wire.policy_log import COMMIT_KEY, Change, PolicyLog, encode_change

_ROWS_AT_ONCE: Final = 20_000

_ROWS: Final = """
SELECT kafka_offset, key, change, entry, deleted,
       after, version, who, toUnixTimestamp64Micro(at), what, note, entries
FROM policy_log
WHERE kafka_epoch = %(epoch)s AND kafka_offset > %(behind)s AND kafka_offset <= %(last)s
ORDER BY kafka_offset
LIMIT 1 BY kafka_offset
LIMIT %(most)s
"""
_COMMITS: Final = """
SELECT kafka_epoch, max(kafka_offset) FROM policy_log
WHERE key = %(commit)s AND toUnixTimestamp64Micro(at) BETWEEN %(from)s AND %(to)s
GROUP BY kafka_epoch ORDER BY kafka_epoch DESC
"""
_EVER: Final = 2**62


def changes(settings: ClickHouseSettings, *, limit: int, since: Instant | None = None) -> list[Change]:
    """The accepted changes, newest first: at most `limit`, and none made before `since`.

    Newest by the order of the log, whatever the clocks of those who made them.
    """
    start = 0 if since is None else int(since)
    found: list[Change] = []
    clickhouse = ClickHouse(settings)
    try:
        for epoch, last in _lives(clickhouse, start, _EVER):
            if len(found) >= limit:
                break
            accepted = [change for change, _ in _accepted(clickhouse, epoch, last) if change.at >= start]
            found += reversed(accepted)
    finally:
        clickhouse.close()
    return found[: max(0, limit)]


def entries_at(settings: ClickHouseSettings, at: Instant) -> Entries:
    """The entries in force at this instant, by key: as the latest accepted change made up to then left them.

    Empty where there was none: the policy file was in force. Latest by the order of the log.
    """
    clickhouse = ClickHouse(settings)
    try:
        for epoch, last in _lives(clickhouse, 0, int(at)):
            held: Entries | None = None
            for change, entries in _accepted(clickhouse, epoch, last):
                if change.at <= at:
                    held = entries
            if held is not None:
                return dict(held)
    finally:
        clickhouse.close()
    return {}


def _lives(clickhouse: ClickHouse, start: int, end: int) -> list[tuple[int, int]]:
    """Every life of the topic with a commit made in this time, newest first, and the last commit's offset."""
    found = clickhouse.rows(_COMMITS, {"commit": COMMIT_KEY, "from": start, "to": end})
    return [(int(epoch), int(last)) for epoch, last in found]


def _accepted(clickhouse: ClickHouse, epoch: int, last: int) -> Iterator[tuple[Change, Entries]]:
    """The accepted changes of a life up to this offset, in order, each with what was in force after it."""
    log = PolicyLog()
    for key, value, number in _records(clickhouse, epoch, last):
        change = log.feed(key, value, number)
        if change is not None:
            yield change, log.entries


def _records(clickhouse: ClickHouse, epoch: int, last: int) -> Iterator[tuple[str, bytes | None, int]]:
    """(key, value, number of the change) of the records up to this offset."""
    behind = -1
    while True:
        rows = clickhouse.rows(_ROWS, {"epoch": epoch, "behind": behind, "last": last, "most": _ROWS_AT_ONCE})
        for _, key, number, entry, deleted, *commit in rows:
            if key == COMMIT_KEY:
                yield key, encode_change(_change(number, *commit)), number
            else:
                # an entry that cannot be read is empty: no JSON, so that it spoils its change here as well
                yield key, None if deleted else entry.encode(), number
        if len(rows) < _ROWS_AT_ONCE:
            return
        behind = rows[-1][0]


def _change(number: int, *columns: Any) -> Change:
    after, version, who, at, what, note, entries = columns
    return Change(
        number=number,
        after=after,
        version=version,
        who=who,
        at=Instant(at),
        what=what,
        note=note,
        entries=entries,
    )
