"""Prometheus metrics: every name is declared here, and read from the facts that a stage says of itself.

A stage's facts are those of its status file (`streams.status`): one fact, one home. `METRICS` says which
fact becomes which metric; whoever has the facts, a stage of its own or a `goaway up` of all of them,
serves the same names.
"""

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from streams import __version__
from streams.errors import UnavailableError
from streams.status import Fact, StatusFile

FRESH_S: Final = 10.0
"""A stage writes its facts each second; one whose facts are older hangs, and counts as down."""

Family = CounterMetricFamily | GaugeMetricFamily


@dataclass(frozen=True, slots=True)
class Said:
    """What is known of one stage, or of a broker or a database that a `goaway up` runs."""

    name: str
    """As `goaway status` has it: `worker`, `worker-2`, `sample`, …"""
    up: bool
    facts: Mapping[str, Fact] = field(default_factory=dict)
    restarts: int | None = None
    """By the `goaway up` that looks after it; None where nobody counts."""
    pid: int | None = None

    @property
    def stage(self) -> str:
        """The kind of stage: the middle of its metrics' names. The sample's shipper is one like any other."""
        kind = self.name.partition("-")[0]
        return "ship" if kind == "sample" else kind


def number(fact: Fact) -> float | None:
    """A number, or a switch as 0 and 1."""
    return float(fact) if isinstance(fact, (int, float)) else None


def age_s(fact: Fact) -> float | None:
    """Seconds since an instant (RFC 3339); 0 where the clock of who wrote it is ahead."""
    try:
        return max(0.0, time.time() - datetime.fromisoformat(str(fact)).timestamp())
    except ValueError:
        return None


def entries(fact: Fact) -> float | None:
    """How many names a comma-separated list has: the names can hold a customer's key."""
    return float(len([name for name in str(fact or "").split(",") if name.strip()]))


def connected(fact: Fact) -> float | None:
    """1 where the fact says `connected`."""
    return None if fact is None else float(fact == "connected")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of one kind of stage."""

    name: str
    kind: Literal["counter", "gauge"]
    fact: str
    """The fact that it is; with `labels` the beginning of several: `decisions_by.rate.block`."""
    help: str
    labels: tuple[str, ...] = ()
    """What stands behind the fact's name, dot by dot. The label `stage` comes before them."""
    reads: Callable[[Fact], float | None] = number

    def family(self) -> Family:
        """The metric without samples."""
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        return kind(self.name, self.help, labels=["stage", *self.labels])

    def samples(self, facts: Mapping[str, Fact]) -> Iterator[tuple[list[str], float]]:
        """Label values and value, for every fact that it is read from."""
        if not self.labels:
            value = self.reads(facts[self.fact]) if self.fact in facts else None
            if value is not None:
                yield [], value
            return
        for name, fact in facts.items():
            words = name.split(".")
            if words[0] == self.fact and len(words) == len(self.labels) + 1:
                value = self.reads(fact)
                if value is not None:
                    yield words[1:], value


def _rows(stage: str, *rows: tuple[object, ...]) -> tuple[Metric, ...]:
    return tuple(Metric(f"goaway_{stage}_{row[0]}", *row[1:]) for row in rows)  # type: ignore[arg-type]


METRICS: Final[Mapping[str, tuple[Metric, ...]]] = {
    "ship": _rows(
        "ship",
        ("files", "gauge", "files", "Logs that are followed."),
        ("lines_total", "counter", "lines_read", "Log lines read."),
        ("events_total", "counter", "events", "Events read from log lines."),
        ("ignored_lines_total", "counter", "ignored", "Log lines ignored on purpose."),
        (
            "dead_letters_total",
            "counter",
            "unreadable",
            "Lines that could not be read, kept as dead letters.",
        ),
        ("frames_total", "counter", "frames", "Frames of events handed to Kafka."),
        ("waiting_bytes", "gauge", "bytes_behind", "Bytes of log that are written and not read yet."),
        ("unacknowledged_records", "gauge", "records_in_flight", "Records that Kafka has not acknowledged."),
        ("unacknowledged_bytes", "gauge", "bytes_in_flight", "Bytes that Kafka has not acknowledged."),
        ("event_age_seconds", "gauge", "last_event_at", "Time since the last event of the logs.", (), age_s),
        ("kafka_up", "gauge", "kafka", "Whether Kafka takes records."),
    ),
    "worker": _rows(
        "worker",
        ("partitions", "gauge", "partitions", "Partitions of smtp.events that this worker has."),
        ("events_total", "counter", "events", "Events taken in, those read again at a start included."),
        ("repeated_events_total", "counter", "repeated", "Events that a shipper sent twice, passed over."),
        ("misplaced_events_total", "counter", "misplaced", "Events that came in another client's partition."),
        ("dead_letters_total", "counter", "unreadable", "Records that could not be read, kept."),
        (
            "decisions_total",
            "counter",
            "decisions_by",
            "Decisions by trigger and action; action shadow decides and refuses nobody.",
            ("trigger", "action"),
        ),
        ("warnings_total", "counter", "warnings", "Warnings before a limit is reached."),
        ("clients", "gauge", "clients", "Clients that are remembered."),
        ("waiting_records", "gauge", "records_waiting", "Records of smtp.events that are not processed yet."),
        ("event_age_seconds", "gauge", "last_event_at", "Time since the last event taken in.", (), age_s),
        ("policy_change", "gauge", "policy_change", "Number of the policy change that is in force."),
        ("candidate", "gauge", "candidate", "Number of the candidate policy that is tried; 0 where none is."),
        ("candidate_decisions_total", "counter", "candidate_decisions", "Decisions of candidates."),
    ),
    "reputation": _rows(
        "reputation",
        ("partitions", "gauge", "partitions", "Partitions of smtp.events that this one has."),
        ("lookups_total", "counter", "looked_up", "Addresses looked up."),
        ("listed_total", "counter", "listed", "Look-ups that found an address listed."),
        ("cached_total", "counter", "cached", "Addresses answered from the cache."),
        ("left_alone_total", "counter", "left_alone", "Addresses not asked about, as the policy says."),
        ("events_total", "counter", "told", "Events written for the worker."),
        ("dropped_total", "counter", "dropped", "Addresses not looked up, since too many waited."),
        ("old_events_total", "counter", "old", "Connections too old to be worth a look-up."),
        ("lost_total", "counter", "lost", "Events that Kafka did not take."),
        ("mismatched_total", "counter", "mismatched", "DNS answers to no question of ours, dropped."),
        ("waiting_lookups", "gauge", "waiting", "Addresses that wait for their look-up."),
        ("running_lookups", "gauge", "under_way", "Look-ups under way."),
        ("cached_addresses", "gauge", "addresses_held", "Addresses in the cache."),
        ("zones", "gauge", "zones", "DNSBLs that are asked."),
        ("zones_out", "gauge", "zones_out", "DNSBLs that give no answer that counts.", (), entries),
        ("partners_listed", "gauge", "partners_listed", "Partner addresses that a DNSBL lists."),
        ("sender_domains_total", "counter", "sender_domains", "Sender domains looked up."),
        ("nonexistent_senders_total", "counter", "senders_nonexistent", "Sender domains that do not exist."),
        ("waiting_records", "gauge", "records_waiting", "Records of smtp.events that are not processed yet."),
    ),
    "shim": _rows(
        "shim",
        ("connections", "gauge", "connections", "Connections of the MTA that are open."),
        ("requests_total", "counter", "requests", "Requests answered."),
        ("refusals_total", "counter", "refused_by", "Requests refused with 5xx, by trigger.", ("trigger",)),
        ("greylisted_total", "counter", "greylisted", "Requests put off with 451 by the greylist."),
        ("shadowed_total", "counter", "shadowed", "Requests that would have been refused or put off."),
        ("waits_total", "counter", "waited", "Requests that waited for a first verdict of the DNSBLs."),
        ("faults_total", "counter", "faults", "Connections dropped for what was written into them."),
        ("turned_away_total", "counter", "turned_away", "Connections closed unread: there were too many."),
        ("decisions", "gauge", "decisions_standing", "Decisions that are remembered."),
        ("decisions_read_total", "counter", "decisions_read", "Decisions read from Kafka."),
        ("dead_letters_total", "counter", "decisions_unreadable", "Decisions that could not be read."),
        ("verdicts", "gauge", "verdicts", "Verdicts of the DNSBLs that are remembered."),
        ("greylist_triplets", "gauge", "greylist_known", "Greylist triplets that are remembered."),
        ("greylist_learnt", "gauge", "learnt", "Clients and pools that the greylist lets pass."),
        ("decision_age_seconds", "gauge", "last_decision_at", "Time since the last decision.", (), age_s),
        ("kafka_up", "gauge", "kafka", "Whether decisions are followed on Kafka.", (), connected),
        ("caught_up", "gauge", "caught_up", "Whether every decision on record was read."),
        ("policy_change", "gauge", "policy_number", "Number of the policy change that is in force."),
    ),
    "sink": _rows(
        "sink",
        ("rows_total", "counter", "rows", "Rows stored in ClickHouse."),
        ("batches_total", "counter", "batches", "Batches stored."),
        ("dead_letters_total", "counter", "unreadable", "Records that could not be read, kept."),
        ("redone_batches_total", "counter", "redone", "Batches found under way at a start, and ended."),
        ("repeated_events_total", "counter", "repeated", "Events that a shipper sent twice, stored once."),
        ("mended_total", "counter", "mended", "Months of a rollup that were counted anew."),
        ("waiting_records", "gauge", "lag", "Records of all topics that are not stored yet."),
    ),
    "notify": _rows(
        "notify",
        ("partitions", "gauge", "partitions", "Partitions that this one has."),
        ("records_total", "counter", "read", "Decisions and warnings read."),
        ("dead_letters_total", "counter", "unreadable", "Records that could not be read."),
        ("waiting_notices", "gauge", "notices_waiting", "Notices that wait for the next message."),
        ("notices_total", "counter", "notices_told", "Notices put into messages."),
        ("messages_total", "counter", "messages", "Messages handed to the services."),
        ("given_up_total", "counter", "given_up", "Messages that a service would not take."),
        ("waiting_records", "gauge", "records_waiting", "Records that are not processed yet."),
        ("policy_change", "gauge", "policy_change", "Number of the policy change that is in force."),
    ),
}
"""Kind of stage → its metrics."""

STAGE_METRICS: Final = _rows(
    "stage",
    ("up", "gauge", "up", "Whether the stage runs and said something in the last 10 s."),
    ("trouble", "gauge", "trouble", "Whether the stage reports trouble: goaway status says which."),
    ("status_age_seconds", "gauge", "age", "Time since the stage last said something."),
    ("restarts_total", "counter", "restarts", "Restarts by goaway up."),
    ("memory_bytes", "gauge", "memory", "Resident memory."),
    ("cpu_seconds_total", "counter", "cpu", "Processor time used."),
)
"""Metrics of every stage, read from what is known about it."""

BUILD: Final = Metric(
    "goaway_build_info", "gauge", "", "Always 1: the version and its Python.", ("version", "python")
)


def everything() -> Iterator[Metric]:
    """Every metric there is."""
    yield BUILD
    yield from STAGE_METRICS
    for of_stage in METRICS.values():
        yield from of_stage


def of_status(name: str, status: StatusFile) -> Said:
    """What a stage's own process knows of itself."""
    facts = status.last
    age = time.time() - float(facts.get("written") or 0)
    return Said(name, up=age <= FRESH_S, facts=facts, pid=os.getpid())


class Stages(Collector):
    """Reads the facts at the moment that Prometheus asks."""

    def __init__(self, said: Callable[[], Iterable[Said]]) -> None:
        self._said = said

    def describe(self) -> Iterator[Family]:
        """Every metric, without values."""
        for metric in everything():
            yield metric.family()

    def collect(self) -> Iterator[Family]:
        """Every metric that has a value now."""
        build = GaugeMetricFamily(BUILD.name, BUILD.help, labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        families: dict[str, Family] = {}
        for said in self._said():
            for metrics, facts in ((STAGE_METRICS, _about(said)), (METRICS.get(said.stage, ()), said.facts)):
                for metric in metrics:
                    for labels, value in metric.samples(facts):
                        family = families.setdefault(metric.name, metric.family())
                        family.add_metric([said.name, *labels], value)
        yield from families.values()


def _about(said: Said) -> dict[str, Fact]:
    found: dict[str, Fact] = {"up": said.up, "trouble": bool(said.facts.get("trouble"))}
    if (written := number(said.facts.get("written"))) is not None:
        found["age"] = max(0.0, time.time() - written)
    if said.restarts is not None:
        found["restarts"] = said.restarts
    if said.pid:
        try:
            process = Path(f"/proc/{said.pid}")
            # the second field, the program's name, can hold blanks
            times = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
            found["cpu"] = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
            found["memory"] = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            pass  # ended meanwhile, or no Linux
    return found


def serve(listen: tuple[str, int], said: Callable[[], Iterable[Said]]) -> str:
    """Answer Prometheus from a thread for as long as the process lives; the URL to be scraped.

    Port 0 is any free one. `UnavailableError` where the address cannot be had.
    """
    host, port = listen
    registry = CollectorRegistry()
    registry.register(Stages(said))
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        raise UnavailableError(
            f"--metrics-listen: {host}:{port} cannot be had ({error.strerror})",
            try_next=f"--metrics-listen {host}:{port + 1}",
        ) from error
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{server.server_port}/metrics"
