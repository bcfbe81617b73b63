"""A store filled as the sink fills it: log lines through parser and engine into rows of the topics."""

from collections.abc import Iterable, Sequence
from datetime import UTC
from pathlib import Path
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.rows import Record, TopicRows
from streams.config import ClickHouseSettings
from streams.model.client import ClientPrefixes
from streams.model.decision import Decision, LimitWarning
from streams.model.event import Event
from streams.model.instant import Instant, parse_instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.run import replay
from streams.replay.sources import LogSource, ReadCounts, chunks, raw_lines
from streams.topics import DECISIONS, EVENTS, POLICY, WARNINGS
from streams.wire.frames import encode, encode_frame
from streams.wire.policy_entries import Entries, policy_of
from streams.wire.policy_log import (
    COMMIT_KEY,
    Change,
    encode_change,
    encode_entry,
    encode_number,
)
from tests.parts import ROOT

SAMPLE: Final = ROOT / "streams/embedded/sample/mail.log.gz"
_REFERENCE: Final = parse_instant("2026-12-01T00:00:00Z")
_FRAME: Final = 100


class Recorder:
    """Stores records of the topics, each at the next offset."""

    def __init__(self, settings: ClickHouseSettings, first_offset: int = 0) -> None:
        self.settings = settings
        self.clickhouse = ClickHouse(settings)
        self._offset = first_offset

    def _store(
        self,
        topic: str,
        values: Iterable[tuple[bytes | None, bytes | None, bytes | None]],
        taken_at: Instant = _REFERENCE,
    ) -> None:
        rows = TopicRows(topic)
        for value, key, change in values:
            self._offset += 1
            rows.add(Record(topic, 0, self._offset, taken_at, value, key, change))
        assert not len(rows.letters), rows.letters.made_of
        assert rows.rows is not None
        for month, some in rows.rows.months():
            token = f"{topic}/{self._offset}/{month}"
            self.clickhouse.insert(some.table.name, some.table.names, some.columns(1), token=token)

    def events(self, events: Sequence[Event]) -> None:
        """Events in frames, in the order given."""
        frames = (encode_frame(events[at : at + _FRAME]) for at in range(0, len(events), _FRAME))
        self._store(EVENTS, ((frame, None, None) for frame in frames))

    def outcomes(self, outcomes: Sequence[Decision | LimitWarning]) -> None:
        """Decisions and warnings."""
        for topic, kind in ((DECISIONS, Decision), (WARNINGS, LimitWarning)):
            some = [(encode(it), None, None) for it in outcomes if isinstance(it, kind)]
            if some:
                self._store(topic, some)

    def change(self, number: int, entries: Entries, *, at: str, who: str = "anna", note: str = "") -> None:
        """A change of the policy on the one before it."""
        commit = Change(
            number=number,
            after=number - 1,
            version=policy_of(entries).version,
            who=who,
            at=parse_instant(at),
            what=f"change {number}",
            note=note,
            entries=len(entries),
        )
        head = encode_number(number)
        records = [(encode_entry(row), key.encode(), head) for key, row in entries.items()]
        end = (encode_change(commit), COMMIT_KEY.encode(), head)
        self._store(POLICY, [*records, end], taken_at=commit.at)

    def log(self, lines: bytes | Path, policy: Policy | None = None) -> list[Event]:
        """A Postfix log with what the engine makes of it; returned are its events."""
        events = events_of(lines)
        self.events(events)
        self.outcomes(list(replay(PolicyIndex(policy or Policy()), events)))
        return events


def events_of(lines: bytes | Path) -> list[Event]:
    """The events of a Postfix log, in the order of its stamps."""
    source = LogSource(zone=UTC, reference=_REFERENCE, prefixes=ClientPrefixes(), counts=ReadCounts())
    return list(source.in_time(raw_lines(chunks(lines) if isinstance(lines, Path) else [lines])))
