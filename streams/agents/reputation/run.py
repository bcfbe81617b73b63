"""Run the reputation stage: the Faust app, its watchdog, its status."""

import os
import time
from pathlib import Path
from typing import Any, Final

import faust

from streams.agents.quiet import quiet_libraries
from streams.agents.reputation.app import GROUP, Stage, run_in
from streams.agents.stage import SESSION_TIMEOUT_S, make_app, run_app, work_folder
from streams.agents.watchdog import Watchdog
from streams.config import Settings
from streams.kafka import events_partitions
from streams.model.instant import Instant
from streams.model.policy import Policy
from streams.policy_follower import PolicyFollower
from streams.status import StatusFile

_POLICY_S: Final = 10.0
"""Longest wait for the policy in force before the first event; then the base serves until it is there."""


def now() -> Instant:
    """The wall clock: the time of a warning."""
    return Instant(time.time_ns() // 1000)


def run_reputation(
    settings: Settings,
    base_policy: Policy,
    *,
    status: StatusFile,
    instance: str = "",
    state: Path | None = None,
    session_timeout_s: float = SESSION_TIMEOUT_S,
) -> None:
    """Look up until SIGTERM or SIGINT. Needs the topics; partitions are shared among all workers of the
    stage.

    `instance` is a name of its own for each of them: see `run_worker`. `state` is a folder of its own too,
    that remembers which partners are listed. Ends with exit status 75 where only a new start helps: a
    supervisor is needed.
    """
    quiet_libraries()
    partitions = events_partitions(settings.kafka)
    stages: list[Stage] = []
    with work_folder(settings.kafka, GROUP, instance, name="reputation") as datadir:
        follower = PolicyFollower(settings.kafka, base_policy)
        follower.start()
        follower.wait_until_caught_up(_POLICY_S)
        app = make_app(
            settings.kafka,
            GROUP,
            partitions=partitions,
            datadir=datadir,
            instance=instance,
            session_timeout_s=session_timeout_s,
        )

        def make_stage() -> Stage:
            return Stage(
                settings.kafka, lambda: follower.current, partitions=partitions, state=state, now=now
            )

        run_in(app, make_stage, stages.append)
        watchdog = Watchdog(settings.kafka, GROUP, lambda: stages[0].positions() if stages else None)
        _report(app, stages, watchdog, status)
        watchdog.start()
        run_app(app, datadir)


def _report(app: faust.App, stages: list[Stage], watchdog: Watchdog, status: StatusFile) -> None:
    """Write the status file each second, from inside the app so that a stuck loop shows."""

    @app.timer(interval=1.0)  # type: ignore[untyped-decorator]
    async def report(*_: Any) -> None:
        for stage in stages:
            status.write(facts(stage, records_waiting=watchdog.lag))


def facts(stage: Stage, *, records_waiting: int) -> dict[str, str | int | float | bool | None]:
    """What the stage says of itself."""
    counts, states = stage.lookups.counts, stage.zones.states()
    return {
        "partitions": len(stage.assigned or ()),
        "looked_up": counts.looked_up,
        "listed": counts.listed,
        "cached": counts.cached,
        "left_alone": counts.left_alone,
        "told": counts.told,
        "waiting": stage.lookups.waiting,
        "under_way": stage.lookups.under_way,
        "dropped": counts.dropped,
        "old": stage.old,
        "addresses_held": len(stage.lookups.cache),
        "zones": len(states),
        "zones_out": ", ".join(health.zone.domain for health in states if health.out),
        "partners_listed": stage.partners.listed,
        "sender_domains": stage.senders.looked_up,
        "senders_nonexistent": stage.senders.nonexistent,
        "mismatched": stage.zones.resolver.mismatched,
        "lost": stage.outbox.lost,
        "records_waiting": records_waiting,
        "policy": stage.index.version,
        "pid": os.getpid(),
    }
