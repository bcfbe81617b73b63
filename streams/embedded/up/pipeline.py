"""The pipeline's parts in their order: broker, topics, stages, storage; and what happens when one dies."""

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from streams.config import KafkaSettings, Settings, parse_host_port
from streams.embedded.broker import KINDS, Broker, open_broker
from streams.embedded.up.child import Child
from streams.embedded.up.plan import Part, Plan
from streams.embedded.up.policy_keeper import PolicyKeeper
from streams.embedded.up.sample import SampleFeed
from streams.embedded.up.storage import Storage
from streams.errors import GoawayError
from streams.kafka import create_topics
from streams.status import read_status

BROKER_MEMORY_WARNING: Final = 2 * 1024**3
"""Resident bytes of the in-memory broker at which `up` says so: it keeps everything until it ends."""


class Pipeline:
    """Starts everything, looks after it in `tend`, stops it in the order in which data flows."""

    def __init__(self, plan: Plan, settings: Settings, *, say: Callable[[str, str], None]) -> None:
        self.plan = plan
        self._say = say
        self._settings = settings
        self._broker: Broker | None = None
        self._broker_restarts = 0
        self._broker_instance = secrets.token_hex(8)
        self._memory_said = False
        self._clickhouse: Storage | None = None
        self._children: list[Child] = []
        self._feed: SampleFeed | None = None
        self._policy = PolicyKeeper(plan.policy, plan.data, by=plan.by, say=say)

    @property
    def kafka(self) -> KafkaSettings:
        """How to reach the broker in use."""
        return self._settings.kafka

    def start(self) -> None:
        """Bring up broker, topics and stages; storage comes up beside them."""
        plan = self.plan
        shutil.rmtree(plan.data / "tmp", ignore_errors=True)
        for folder in ("log", "status", "tmp"):
            (plan.data / folder).mkdir(parents=True, exist_ok=True)
        for stale in (plan.data / "status").glob("*.json"):
            stale.unlink()
        if plan.broker in KINDS:
            self._broker = open_broker(plan.broker, folder=plan.data / plan.broker)
            self._broker.start()
            address = self._broker.address
            kept = "on disk" if self._broker.durable else "in memory: empty after a restart"
            self._say("broker", f"{plan.broker} at {address}, {kept}")
        else:
            host, port = parse_host_port(plan.broker, name="--broker")
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._settings = replace(self._settings, kafka=replace(self._settings.kafka, bootstrap=address))
        created = create_topics(self.kafka, partitions=plan.partitions)
        self._say("topics", f"{len(created)} created" if created else "all there")
        self._policy.start(self.kafka)
        if plan.clickhouse != "none":
            self._clickhouse = Storage(plan, self._say)
            self._clickhouse.start(self._environ(), self._start_sink)
        for child in self._stages():
            self._children.append(child)
            child.start()
        self._write_place()

    def tend(self) -> None:
        """Notice what died and start it again. To be called a few times a second."""
        if self._broker is not None and not self._broker.alive():
            self._revive_broker(self._broker)
        for child in list(self._children):
            if said := child.look():
                self._say(child.name, said)
        if self._clickhouse is not None:
            self._clickhouse.tend()
        if self._policy.wants_reputation and not any(it.name == "reputation" for it in self._children):
            state = str(self.plan.data / "reputation")
            self._add("reputation", "reputation", "--instance", "up", "--state", state)
        self._watch_memory()

    def _add(self, name: str, *arguments: str) -> None:
        """Start one more stage, which from now on is looked after like the others."""
        policy = ("--policy", str(self.plan.policy)) if self.plan.policy else ()
        child = self._child(name, *arguments, *policy)
        child.start()
        self._children.append(child)

    def stop(self) -> None:
        """The shipper first, then what works on what it sent, then the services below."""
        if self._feed is not None:
            self._feed.stop()
        self._policy.stop()
        order = {"ship": 0, "sample": 0, "reputation": 0, "worker": 1, "notify": 2, "sink": 2, "shim": 3}
        for child in sorted(self._children, key=lambda one: order.get(one.name.partition("-")[0], 1)):
            child.stop()
        if self._clickhouse is not None:
            self._clickhouse.stop()
        if self._broker is not None:
            self._broker.stop()
        (self.plan.data / "up.json").unlink(missing_ok=True)

    def parts(self) -> list[Part]:
        """Every part as it is now."""
        found = []
        if self._broker is not None:
            alive = self._broker.alive()
            memory = f"{self._broker.rss_bytes() / 1e6:.0f} MB" if alive else ""
            found.append(
                Part(
                    "broker",
                    "runs" if alive else "ended",
                    self._broker.pid,
                    self._broker_restarts,
                    {"kind": self.plan.broker, "address": self._broker.address, "memory": memory},
                )
            )
        if self._clickhouse is not None:
            found.append(self._clickhouse.part())
        for child in self._children:
            facts = read_status(self.plan.data / "status" / f"{child.name}.json") or {}
            if child.pid:
                state = "runs" if facts or child.once else "starts"
            else:
                state = "done" if child.once and child.exit_code == 0 else "ended"
            found.append(Part(child.name, state, child.pid, child.restarts, facts))
        return found

    def _environ(self) -> dict[str, str]:
        own = {"GOAWAY_KAFKA": self.kafka.bootstrap, "PYTHONUNBUFFERED": "1"}
        # a worker that is killed, or that Faust ends by os._exit, leaves its folder behind
        own["TMPDIR"] = str(self.plan.data / "tmp")
        if self._clickhouse is not None:
            own |= self._clickhouse.environ
        return {**os.environ, **own}

    def _child(self, name: str, *arguments: str, once: bool = False) -> Child:
        status = () if once else ("--status-file", str(self.plan.data / "status" / f"{name}.json"))
        return Child(
            name,
            (*arguments, *status),
            environ=self._environ(),
            log=self.plan.data / "log" / f"{name}.log",
            once=once,
        )

    def _stages(self) -> list[Child]:
        plan = self.plan
        policy = ("--policy", str(plan.policy)) if plan.policy else ()
        zone = ("--timezone", plan.timezone) if plan.timezone else ()
        listen = [flag for where in plan.listen for flag in ("--policy-listen", where)]
        stages = [self._child("shim", "shim", *listen, "--socket-mode", plan.socket_mode, *policy)]
        for number in range(1, plan.workers + 1):
            name = f"worker-{number}" if plan.workers > 1 else "worker"
            stages.append(self._child(name, "worker", "--instance", f"up-{number}", *policy))
        if plan.sample:
            self._feed = SampleFeed(plan.data / "sample")
            self._feed.start()
            state = str(plan.data / "sample" / "state")
            stages.append(self._child("sample", "ship", "--state", state, *policy, str(self._feed.log)))
        if plan.logs:
            state = str(plan.data / "ship")
            stages.append(self._child("ship", "ship", "--state", state, *zone, *policy, *map(str, plan.logs)))
        if any(os.environ.get(name) for name in ("GOAWAY_NOTIFY_URLS", "GOAWAY_NOTIFY_URLS_FILE")):
            stages.append(self._child("notify", "notify", "--data", str(plan.data), *policy))
        return stages

    def _start_sink(self) -> None:
        sink = self._child(
            "sink", "sink", "--broker-instance", self._broker_instance if self._volatile else ""
        )
        sink.start()
        self._children.append(sink)
        self._write_place()

    @property
    def _volatile(self) -> bool:
        return self._broker is not None and not self._broker.durable

    def _revive_broker(self, broker: Broker) -> None:
        self._say("broker", "ended; starting it again")
        # a broker in memory comes back empty: what holds offsets or producer ids of the old one begins anew,
        # and nobody may produce before the topics are there, since this broker would make them up; the shim
        # goes on from what it knows
        forgetful = [
            child
            for child in self._children
            if not broker.durable and not child.once and child.name != "shim"
        ]
        for child in forgetful:
            child.pause()
        try:
            broker.start()
            create_topics(self.kafka, partitions=self.plan.partitions)
            if not broker.durable:
                self._policy.apply(self.kafka)
        except GoawayError as error:
            self._say("broker", str(error))
            time.sleep(1.0)
            return
        self._broker_restarts += 1
        if not broker.durable:
            self._broker_instance = secrets.token_hex(8)
        for child in forgetful:
            if child.name == "sink":
                self._children.remove(child)
                self._start_sink()
            else:
                child.resume()
        self._say("broker", "runs again")

    def _watch_memory(self) -> None:
        if self._volatile and self._broker is not None and not self._memory_said:
            used = self._broker.rss_bytes()
            if used > BROKER_MEMORY_WARNING:
                self._memory_said = True
                self._say(
                    "broker",
                    f"holds {used / 1e9:.1f} GB and frees nothing; for long runs: goaway up --broker apache",
                )

    def _write_place(self) -> None:
        """For `goaway status` from another terminal: addresses, no secrets."""
        place = {
            "pid": os.getpid(),
            "kafka": self.kafka.bootstrap,
            "listen": list(self.plan.listen),
            "clickhouse": self._clickhouse.environ.get("GOAWAY_CLICKHOUSE", "") if self._clickhouse else "",
            "embedded": self.plan.clickhouse == "embedded",
        }
        (self.plan.data / "up.json").write_text(json.dumps(place))
