"""Run the worker: the Faust app, its watchdog, its status."""

import logging
import os
import time
from collections import Counter
from typing import Any, get_args

import faust

from streams.agents.candidate import Candidates
from streams.agents.decide import GROUP, Ledgers, make_app
from streams.agents.quiet import quiet_libraries
from streams.agents.stage import SESSION_TIMEOUT_S, run_app, work_folder
from streams.agents.watchdog import Watchdog
from streams.config import Settings
from streams.errors import UnavailableError
from streams.kafka import events_partitions, partition_counts
from streams.model.decision import Trigger
from streams.model.instant import rfc3339
from streams.model.standing import PolicyIndex
from streams.policy_follower import PolicyFollower
from streams.status import StatusFile
from streams.topics import DECISIONS, POLICY

CAUGHT_UP_S = 30.0
"""Longest wait for the policy in force: without it nothing is decided."""

CANDIDATE_WAIT_S = 5.0
"""Longest wait for a candidate that is tried: without it, its trial begins afresh."""

_log = logging.getLogger(__name__)


def run_worker(
    settings: Settings,
    index: PolicyIndex,
    *,
    status: StatusFile,
    instance: str = "",
    session_timeout_s: float = SESSION_TIMEOUT_S,
) -> None:
    """Decide until SIGTERM or SIGINT. Needs the topics; partitions are shared among all workers.

    `instance` is a name of its own for each worker: one that is restarted under the same name takes its
    partitions again at once, rather than after the dead one's `session_timeout_s` (at least 6 on Apache
    Kafka; on the embedded broker, joining takes half of it). Ends with exit status 75 where only a new start
    helps: a supervisor is needed.
    """
    quiet_libraries()
    partitions = events_partitions(settings.kafka)
    if partition_counts(settings.kafka).get(DECISIONS, 0) < partitions:
        raise UnavailableError(
            f"{DECISIONS} has fewer partitions than smtp.events ({partitions})", try_next="goaway topics show"
        )
    with work_folder(settings.kafka, GROUP, instance, name="worker") as datadir:
        policies = PolicyFollower(settings.kafka, index.policy)
        policies.start()
        if not policies.wait_until_caught_up(CAUGHT_UP_S):
            raise UnavailableError(
                f"{POLICY} at {settings.kafka.bootstrap} cannot be read", try_next="goaway topics show"
            )
        candidates = Candidates(settings.kafka, partitions)
        candidates.start(CANDIDATE_WAIT_S)
        ledgers = Ledgers(policies, settings.kafka, partitions, candidates.current)
        app = make_app(
            settings.kafka,
            ledgers,
            partitions=partitions,
            datadir=datadir,
            instance=instance,
            session_timeout_s=session_timeout_s,
        )
        watchdog = Watchdog(settings.kafka, GROUP, ledgers.positions)
        _report(app, ledgers, watchdog, status)
        watchdog.start()
        run_app(app, datadir)


def _report(app: faust.App, ledgers: Ledgers, watchdog: Watchdog, status: StatusFile) -> None:
    """Write the status file each second, from inside the app so that a stuck loop shows."""
    before = (time.monotonic(), 0)

    @app.timer(interval=1.0)  # type: ignore[untyped-decorator]
    async def report(*_: Any) -> None:
        nonlocal before
        every = [ledgers.gone, *(ledger.counts for ledger in ledgers.by_partition.values())]
        decided = dict.fromkeys((f"{trigger}.block" for trigger in get_args(Trigger)), 0)
        decided |= sum((counts.decided for counts in every), Counter[str]())
        events = sum(counts.events for counts in every)
        last = max((counts.last_event_at for counts in every), default=0)
        now = time.monotonic()
        rate = max(0.0, (events - before[1]) / max(now - before[0], 0.001))
        before = (now, events)
        status.write(
            {
                "partitions": len(ledgers.assigned or ()),
                "events": events,
                "events_per_s": round(rate),
                "repeated": sum(counts.repeated for counts in every),
                "unreadable": sum(counts.unreadable for counts in every),
                "misplaced": sum(counts.misplaced for counts in every),
                "decisions": sum(counts.decisions for counts in every),
                **{f"decisions_by.{name}": count for name, count in sorted(decided.items())},
                "warnings": sum(counts.warnings for counts in every),
                "candidate": candidate.number if (candidate := ledgers.candidate()) is not None else 0,
                "candidate_decisions": sum(counts.tried for counts in every),
                "clients": sum(len(ledger.state.clients) for ledger in ledgers.by_partition.values()),
                "records_waiting": watchdog.lag,
                "last_event_at": rfc3339(last) if last else "",
                "policy": ledgers.policies.current[1].version,
                "policy_change": ledgers.policies.current[0],
                "pid": os.getpid(),
            }
        )
