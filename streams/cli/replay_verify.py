"""`goaway replay --verify`: live equals replay, and where the first difference is."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from streams.agents.ledger import Ledger
from streams.audit.clickhouse import ClickHouse, connection_arguments
from streams.cli.policy_names import policies_as_was
from streams.cli.progress import shown
from streams.cli.replay_source import Asked
from streams.cli.tables import print_json
from streams.errors import UsageError
from streams.model.decision import Decision
from streams.model.instant import MICROSECONDS, Instant, rfc3339
from streams.replay.as_was import AsWas
from streams.replay.extent import Extent
from streams.replay.recorded_log import RecordedLog, Stretch
from streams.replay.verify import Difference, MarkedPolicies, Verdict, verify
from streams.wire.frames import encode

_EVENTS: Final = """
SELECT count() FROM events
WHERE at >= fromUnixTimestamp64Micro(%(warm)s, 'UTC') AND at < fromUnixTimestamp64Micro(%(end)s, 'UTC')
"""
_NOT_STORED: Final = "its event is not stored"


def verify_period(asked: Asked, *, as_json: bool) -> int:
    """Exit code 1 where something differs."""
    if asked.files or asked.kafka or not asked.start:
        raise UsageError(
            "--verify needs a stored period", try_next="goaway replay --verify --from TIME --to TIME"
        )
    start, end = asked.period()
    base = asked.judge(asked.policy_name)
    policies = base if isinstance(base, AsWas) else policies_as_was(asked.settings, base, start)
    asked.extent = Extent(_events(asked, policies, start, end))
    log = RecordedLog(connection_arguments(asked.settings.clickhouse))

    def progress(events: int) -> None:
        asked.extent.done += events
        asked.counts.events += events

    def judge(policies: MarkedPolicies, stretch: Stretch) -> Ledger:
        return Ledger(policies, stretch.partition, max(1, stretch.partition + 1))

    try:
        with shown(asked, "verify"), _no_word_of_partitions():
            found = verify(log, policies, judge, start, end, progress)
    finally:
        log.close()
    if not found.events and not found.different:
        raise asked.nothing()
    if as_json:
        print_json(
            {
                "events": found.events,
                "recalled": found.recalled,
                "same": found.same,
                "different": found.different,
                "first": [_row(it) for it in found.differences[:20]],
            }
        )
    else:
        click.echo(_words(found))
    return int(found.different > 0)


@contextmanager
def _no_word_of_partitions() -> Iterator[None]:
    """Whose events came to which partition is not asked here, and a ledger would say it."""
    ledger = logging.getLogger("streams.agents.ledger")
    level = ledger.level
    ledger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        ledger.setLevel(level)


def _events(asked: Asked, policies: AsWas, start: Instant, end: Instant) -> int:
    """About how many events there are to go through."""
    memory_us = policies.as_of(start)[1].policy.memory_s * MICROSECONDS
    clickhouse = ClickHouse(asked.settings.clickhouse)
    try:
        bounds = {"warm": max(0, start - memory_us), "end": int(end)}
        return int(clickhouse.rows(_EVENTS, bounds)[0][0])
    finally:
        clickhouse.close()


def _words(found: Verdict) -> str:
    head = (
        f"{found.events} events decided again, {found.recalled} before them recalled: "
        f"{found.same} decisions the same, {found.different} different"
    )
    if not found.differences:
        return head
    it = found.differences[0]
    return "\n".join(
        (
            head,
            f"The first difference is at {rfc3339(it.at)}, client {it.client}:",
            f"  event     {it.event}, partition {it.partition} (life {it.epoch}), {_place(it)}",
            f"  policy    {_policy(it)}",
            f"  recorded  {_shown(it.recorded)}",
            f"  replayed  {_shown(it.replayed)}",
        )
    )


def _place(it: Difference) -> str:
    return _NOT_STORED if it.offset < 0 else f"offset {it.offset}"


def _policy(it: Difference) -> str:
    if it.policy_number is not None:
        return f"change {it.policy_number}"
    return f"version {it.recorded.policy}" if it.recorded else "not known"


def _shown(decision: Decision | None) -> str:
    return "nothing" if decision is None else encode(decision).decode()


def _row(it: Difference) -> dict[str, object]:
    return {
        "at": rfc3339(it.at),
        "client": it.client,
        "event": it.event,
        "epoch": it.epoch,
        "partition": it.partition,
        "offset": it.offset if it.offset >= 0 else None,
        "event_stored": it.offset >= 0,
        "policy_number": it.policy_number,
        "recorded": None if it.recorded is None else _shown(it.recorded),
        "replayed": None if it.replayed is None else _shown(it.replayed),
    }
