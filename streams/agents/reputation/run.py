"""Run the reputation stage: the Faust app, its watchdog, its status."""

import asyncio
import contextlib
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import faust
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from streams.agents.decide import SESSION_TIMEOUT_S, credentials
from streams.agents.membership import end_former
from streams.agents.quiet import quiet_libraries
from streams.agents.reputation.app import GROUP, Stage, make_app, run_in
from streams.agents.run import _TidyWorker
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
    if instance:
        auth = credentials_to_aiokafka_auth(credentials(settings.kafka))
        end_former(settings.kafka, GROUP, instance, **auth)
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    follower = PolicyFollower(settings.kafka, base_policy)
    follower.start()
    follower.wait_until_caught_up(_POLICY_S)
    stages: list[Stage] = []
    with tempfile.TemporaryDirectory(prefix="goaway-reputation-") as datadir:
        app = make_app(
            settings.kafka,
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
        worker = _TidyWorker(
            app,
            loglevel=logging.getLevelName(logging.getLogger().level),
            quiet=True,
            redirect_stdouts=False,
            override_logging=False,
            workdir=Path(datadir),
        )
        worker.execute_from_commandline()


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
