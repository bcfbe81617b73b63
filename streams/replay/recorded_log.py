"""What ClickHouse has of one partition of `smtp.events`, as the worker met it: frame by frame, and what was
decided about each."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import Any, Final, NamedTuple

import msgspec
from clickhouse_driver import Client as Driver
from clickhouse_driver import errors as driver

from streams.errors import UnavailableError
from streams.model.decision import Decision, Evidence
from streams.model.event import Event
from streams.model.instant import Instant
from streams.topics import DECISIONS, EVENTS

_NEVER: Final = 1 << 62
_OFFSETS_AT_ONCE: Final = 50_000
_IN_BLOCKS: Final = {"max_block_size": 8192}
_TEXT: Final = "toString(address)"
_ADDRESS: Final = f"if(startsWith({_TEXT}, '::ffff:'), substring({_TEXT}, 8), {_TEXT})"
_AT: Final = "toUnixTimestamp64Micro(at)"
_STRETCHES: Final = f"""
SELECT kafka_epoch, kafka_partition,
    min(kafka_offset), minIf(kafka_offset, {_AT} >= %(start)s), max(kafka_offset), min({_AT})
FROM events
WHERE {_AT} >= %(warm)s AND {_AT} < %(end)s AND kind != 'policy'
GROUP BY 1, 2
HAVING countIf({_AT} >= %(start)s) > 0
ORDER BY 1, 2
"""  # noqa: S608
_EVENT_FIELDS: Final = [it for it in Event.__struct_fields__ if it not in ("at", "address")]
_EVIDENCE: Final = [f"evidence_{it}" for it in Evidence.__struct_fields__]
_DECISION_FIELDS: Final = [
    it for it in Decision.__struct_fields__ if it not in ("at", "until", "address", "evidence")
]
_DECISION_COLUMNS: Final = ", ".join(
    (_AT, "toUnixTimestamp64Micro(until)", _ADDRESS, *_EVIDENCE, *_DECISION_FIELDS)
)
_DECIDED: Final = (
    "at >= fromUnixTimestamp64Micro(%(start)s, 'UTC') AND at < fromUnixTimestamp64Micro(%(end)s, 'UTC')"
)
# the clients are named so that little of the table is read, which is in their order
_WITHOUT_EVENT: Final = f"""
SELECT {_DECISION_COLUMNS}, kafka_epoch, kafka_partition FROM decisions
WHERE {_DECIDED} AND event NOT IN (
    SELECT id FROM events WHERE (client, id) IN (SELECT client, event FROM decisions WHERE {_DECIDED})
)
ORDER BY decisions.at, kafka_epoch, kafka_partition, kafka_offset LIMIT 1 BY id
"""  # noqa: S608
_LIVES: Final = f"""
SELECT topic, epoch, min(toUnixTimestamp64Micro(started)) FROM sink_epochs
WHERE topic IN ('{EVENTS}', '{DECISIONS}') GROUP BY topic, epoch ORDER BY topic, epoch
"""  # noqa: S608
_TOGETHER_US: Final = 5_000_000
"""The sink meets the new topics of a new broker within this time."""


class Stretch(NamedTuple):
    """A part of one partition's log. Of several lives of a topic each has its own `epoch`."""

    epoch: int
    partition: int
    begins: int
    """First offset to be recalled."""
    judged: int
    """First offset to be decided again."""
    ends: int
    """Last offset."""
    begins_at: Instant
    """Earliest event time of the stretch."""


class Recorded(NamedTuple):
    """A decision on record, with the offset of its event's frame; -1: of an event that is not stored."""

    offset: int
    decision: Decision


class RecordedLog:
    """Reads; `connection` are clickhouse-driver's arguments. `UnavailableError` where it does not answer."""

    def __init__(self, connection: Mapping[str, Any]) -> None:
        self._connection = dict(connection)
        self._driver: Any = None

    def close(self) -> None:
        """Drop the connection."""
        if self._driver is not None:
            with suppress(Exception):
                self._driver.disconnect()

    def stretches(self, warm: Instant, start: Instant, end: Instant) -> list[Stretch]:
        """Where each partition has events with `start <= at < end`, and with `warm <= at` before them."""
        rows = self._rows(
            _STRETCHES,
            {"warm": int(warm), "start": int(start), "end": int(end)},
        )
        return [
            Stretch(int(epoch), int(partition), int(begins), int(judged), int(ends), Instant(at))
            for epoch, partition, begins, judged, ends, at in rows
        ]

    def frames(self, stretch: Stretch) -> Iterator[tuple[int, list[Event]]]:
        """(offset, events) in the order of the log, without what the worker did not believe and set aside."""
        aside = self._set_aside(stretch)
        columns = ", ".join(("kafka_offset", _AT, _ADDRESS, *_EVENT_FIELDS))
        for first in range(stretch.begins, stretch.ends + 1, _OFFSETS_AT_ONCE):
            last = min(first + _OFFSETS_AT_ONCE - 1, stretch.ends)
            rows = self._rows(
                f"SELECT {columns} FROM events WHERE kafka_epoch = %(epoch)s AND kafka_partition = "  # noqa: S608
                "%(partition)s AND kafka_offset BETWEEN %(first)s AND %(last)s "
                "ORDER BY kafka_offset, frame_index",
                {"epoch": stretch.epoch, "partition": stretch.partition, "first": first, "last": last},
            )
            for offset, found in groupby(rows, key=lambda row: int(row[0])):
                events = [_event(row[1:]) for row in found]
                yield offset, [it for it in events if (offset, it.id) not in aside]

    def decisions(self, stretch: Stretch) -> list[Recorded]:
        """What was decided in the partition up to the stretch's end, in the order of the record: without what
        another broker had, of which the worker could not know."""
        place = {
            "epoch": stretch.epoch,
            "partition": stretch.partition,
            "ends": stretch.ends,
            "others": self._lives_of_others(stretch.epoch) or [0],
        }
        offsets = dict(
            self._rows(
                "SELECT id, min(kafka_offset) FROM events WHERE kafka_epoch = %(epoch)s AND "
                "kafka_partition = %(partition)s AND id IN (SELECT event FROM decisions WHERE "
                "kafka_partition = %(partition)s AND kafka_epoch NOT IN %(others)s) GROUP BY id",
                place,
            )
        )
        rows = self._rows(
            f"SELECT {_DECISION_COLUMNS} FROM decisions WHERE kafka_partition = %(partition)s "  # noqa: S608
            "AND kafka_epoch NOT IN %(others)s ORDER BY kafka_epoch, kafka_offset",
            place,
        )
        found = []
        for row in rows:
            decision = _decision(row)
            offset = offsets.get(decision.event, -1)
            if offset <= stretch.ends and (offset >= 0 or decision.at < stretch.begins_at):
                found.append(Recorded(offset, decision))
        return found

    def without_event(self, start: Instant, end: Instant) -> Iterator[tuple[int, int, Decision]]:
        """(life, partition, decision) of each that was decided with `start <= at < end` about an event that
        is not stored, of whatever life or partition; in the order of their time. Some are held at a time:
        where the events are gone, they are all decisions that there are."""
        for row in self._streamed(_WITHOUT_EVENT, {"start": int(start), "end": int(end)}):
            *columns, epoch, partition = row
            yield int(epoch), int(partition), _decision(tuple(columns))

    def markers(self, stretch: Stretch) -> list[tuple[int, str]]:
        """(offset, detail) of the markers up to the stretch's end, in the order of the log."""
        rows = self._rows(
            "SELECT kafka_offset, detail FROM events WHERE kind = 'policy' AND kafka_epoch = %(epoch)s AND "
            "kafka_partition = %(partition)s AND kafka_offset <= %(ends)s ORDER BY kafka_offset, frame_index",
            {"epoch": stretch.epoch, "partition": stretch.partition, "ends": stretch.ends},
        )
        return [(int(offset), str(detail)) for offset, detail in rows]

    def _lives_of_others(self, epoch: int) -> list[int]:
        """Lives of the decisions that were over when this life of the events began, or began after it."""
        begun: dict[str, dict[int, int]] = {EVENTS: {}, DECISIONS: {}}
        for topic, number, at in self._rows(_LIVES, {}):
            begun[str(topic)][int(number)] = int(at)
        if epoch not in begun[EVENTS]:
            return []
        start, end = begun[EVENTS][epoch], begun[EVENTS].get(epoch + 1, _NEVER)
        lives = begun[DECISIONS]

        def was_over(life: int) -> bool:
            """The next one began with this life of the events, and not with the one after it."""
            following = lives.get(life + 1, _NEVER)
            return following <= start + _TOGETHER_US and following - start <= abs(end - following)

        return [it for it in lives if was_over(it) or lives[it] >= end]

    def _set_aside(self, stretch: Stretch) -> set[tuple[int, str]]:
        """(offset, event id) of events that the worker made dead letters of; the sink stored them."""
        rows = self._rows(
            "SELECT position, text FROM deadletters WHERE source = %(source)s AND position BETWEEN %(first)s "
            'AND %(last)s AND text LIKE \'{"id":"%%\'',
            {
                "source": f"smtp.events/{stretch.partition}",
                "first": stretch.begins,
                "last": stretch.ends,
            },
        )
        return {(int(offset), text.split('"', 4)[3]) for offset, text in rows}

    def _rows(self, query: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        with self._connected() as connected:
            return list(connected.execute(query, dict(parameters)))

    def _streamed(self, query: str, parameters: Mapping[str, object]) -> Iterator[tuple[Any, ...]]:
        """As `_rows`, a block of the answer at a time."""
        with self._connected() as connected:
            try:
                yield from connected.execute_iter(query, dict(parameters), settings=_IN_BLOCKS)
            finally:
                self.close()  # the rest of an answer that was not read to its end stands in the way

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """The connection, made when first needed; what goes wrong with it is an `UnavailableError`."""
        try:
            if self._driver is None:
                self._driver = Driver(**self._connection)
            yield self._driver
        except (driver.Error, OSError, EOFError) as error:
            said = str(getattr(error, "message", "") or error).partition("Stack trace")[0].strip()[:300]
            place = f"ClickHouse at {self._connection.get('host')}:{self._connection.get('port')}"
            raise UnavailableError(
                f"{place}: {type(error).__name__}: {said}", try_next="goaway doctor"
            ) from error


def _event(row: tuple[Any, ...]) -> Event:
    at, address, *rest = row
    return Event(at=Instant(at), address=address, **dict(zip(_EVENT_FIELDS, rest, strict=True)))


def _decision(row: tuple[Any, ...]) -> Decision:
    at, until, address, *rest = row
    evidence = dict(zip(Evidence.__struct_fields__, rest, strict=False))
    others = dict(zip(_DECISION_FIELDS, rest[len(_EVIDENCE) :], strict=True))
    others["shadow"] = bool(others["shadow"])
    return Decision(
        at=Instant(at),
        until=None if until is None else Instant(until),
        address=address,
        evidence=msgspec.convert(evidence, Evidence),
        **others,
    )
