"""`goaway replay --verify`: live equals replay, and where the first difference is."""

import logging

import click

from streams.agents.ledger import Ledger
from streams.audit.clickhouse import connection_arguments
from streams.cli.replay_source import Asked, shown
from streams.cli.tables import print_json
from streams.errors import UsageError
from streams.model.decision import Decision
from streams.model.instant import rfc3339
from streams.replay.extent import Extent
from streams.replay.recorded_log import RecordedLog, Stretch
from streams.replay.verify import Difference, MarkedPolicies, Verdict, verify
from streams.wire.frames import encode


def verify_period(asked: Asked, *, as_json: bool) -> int:
    """Exit code 1 where something differs."""
    if asked.files or asked.kafka or not asked.start:
        raise UsageError("--verify needs a stored period", try_next="--verify --from TIME --to TIME")
    start, end = asked.period()
    # whose events came to which partition is not asked here
    logging.getLogger("streams.agents.ledger").setLevel(logging.CRITICAL)
    log = RecordedLog(connection_arguments(asked.settings.clickhouse))
    asked.extent = Extent("events")

    def progress(events: int) -> None:
        asked.extent.done += events

    def judge(policies: MarkedPolicies, stretch: Stretch) -> Ledger:
        return Ledger(policies, stretch.partition, max(1, stretch.partition + 1))

    try:
        with shown(lambda: asked.extent, "verify"):
            found = verify(log, asked.as_was(asked.policy(), start), judge, start, end, progress)
    finally:
        log.close()
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
            f"  event     {it.event}, partition {it.partition} (life {it.epoch}), offset {it.offset}",
            f"  policy    change {it.policy_number}",
            f"  recorded  {_shown(it.recorded)}",
            f"  replayed  {_shown(it.replayed)}",
        )
    )


def _shown(decision: Decision | None) -> str:
    return "nothing" if decision is None else encode(decision).decode()


def _row(it: Difference) -> dict[str, object]:
    return {
        "at": rfc3339(it.at),
        "client": it.client,
        "event": it.event,
        "epoch": it.epoch,
        "partition": it.partition,
        "offset": it.offset,
        "policy_number": it.policy_number,
        "recorded": None if it.recorded is None else _shown(it.recorded),
        "replayed": None if it.replayed is None else _shown(it.replayed),
    }
