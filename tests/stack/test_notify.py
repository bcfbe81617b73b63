"""The notify stage, its command as it is, on real brokers: what is on Kafka arrives, killed or not."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest
from confluent_kafka import Consumer, Producer

from streams.agents.notify.run import run_notify
from streams.agents.notify.watch import Watch
from streams.config import KafkaSettings, Settings
from streams.embedded.broker import Broker, open_broker
from streams.kafka import client_config, create_topics
from streams.model.decision import Decision, LimitWarning
from streams.model.policy import Policy
from streams.policy_writer import change_policy
from streams.status import Fact, StatusFile
from streams.topics import DECISIONS, EVENTS, WARNINGS
from streams.wire.frames import decode_warning, encode
from streams.wire.policy_entries import Entries
from tests.notify_sinks import HttpSink, SmtpSink, block, warning
from tests.parts import ROOT
from tests.stack.brokers import start_or_skip

PARTITIONS = 1
COMMAND = "from streams.cli.notify import notify; notify()"


class NotifyProcess:
    """`goaway notify` as a process of its own; a context manager."""

    def __init__(
        self, folder: Path, kafka: str, urls: str, *, policy: str = "[notify]\ndigest_s = 1\n"
    ) -> None:
        self.folder, self.kafka = folder, kafka
        (folder / "urls").write_text(urls)
        self.log, self.status = folder / "notify.log", folder / "notify.json"
        self.policy(policy)
        self._process: subprocess.Popen[bytes] | None = None

    def policy(self, text: str) -> None:
        """The policy file from the next start on."""
        (self.folder / "policy.toml").write_text(text)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it has read what lies there."""
        self.status.unlink(missing_ok=True)
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "GOAWAY_KAFKA": self.kafka,
            "GOAWAY_NOTIFY_URLS_FILE": str(self.folder / "urls"),
        }
        arguments = ["--policy", str(self.folder / "policy.toml"), "--status-file", str(self.status)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, *arguments], stdout=log, stderr=log, cwd=ROOT, env=environ
            )
        self.wait_for(lambda facts: bool(facts.get("partitions")))

    def facts(self) -> dict[str, Any]:
        try:
            facts: dict[str, Fact] = json.loads(self.status.read_text())
        except FileNotFoundError:
            return {}
        return facts

    def wait_for(self, true: Any, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not true(self.facts()):
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"{self.facts()}\n{self.log.read_text()}"
            time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)


def produce(address: str, sources: Iterable[Decision | LimitWarning]) -> None:
    """Write them, and wait for the broker to have them."""
    producer = Producer(client_config(KafkaSettings(bootstrap=address), linger_ms=5))
    for source in sources:
        topic = DECISIONS if isinstance(source, Decision) else WARNINGS
        while True:
            try:
                producer.produce(topic, encode(source), source.client)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60) == 0


@pytest.fixture
def kafka(broker: str) -> str:
    create_topics(KafkaSettings(bootstrap=broker))
    return broker


@pytest.fixture
def hook() -> Iterator[HttpSink]:
    with HttpSink() as sink:
        yield sink


numbers = iter(range(int(time.time()) * 1000, 1 << 62, 1_000_000))
"""Ids that no other test of the run, and no run before, has had."""


def test_warnings_and_blocks_arrive_as_one_digest_everywhere(
    kafka: str, hook: HttpSink, tmp_path: Path
) -> None:
    n = next(numbers)
    with SmtpSink() as mail, NotifyProcess(tmp_path, kafka, f"{hook.url}\n{mail.url}\n") as stage:
        sources: list[Decision | LimitWarning] = [warning(n + i, client=f"203.0.113.{i}") for i in range(5)]
        sources += [block(n + 5), block(n + 6, client="192.0.2.8", shadow=True)]
        sources += [warning(n + 7, client="zen.example", about="zone", text="does not answer")]
        produce(kafka, [*sources, *sources])  # written twice, told once
        hook.wait_for(1)
        stage.wait_for(lambda facts: facts.get("notices_told") == 7)
        time.sleep(2.5)
        assert stage.terminate() == 0
        (message,) = hook.messages
        (letter,) = mail.messages
    assert message["title"].startswith("goaway: 1 notice about a zone, 1 block, 5 warnings")
    assert letter["Subject"].startswith("goaway: 1 notice about a zone, 1 block, 5 warnings")
    for said in ("goaway unblock 192.0.2.7", "203.0.113.4", "zen.example"):
        assert said in message["message"]
    assert "192.0.2.8" not in message["message"]
    assert "s3cret" not in tmp_path.joinpath("notify.log").read_text()
    assert "s3cret" not in tmp_path.joinpath("notify.json").read_text()


def test_killed_before_it_could_deliver_it_tells_everything_after(
    kafka: str, hook: HttpSink, tmp_path: Path
) -> None:
    n = next(numbers)
    hook.status = 503
    with NotifyProcess(tmp_path, kafka, hook.url) as stage:
        produce(kafka, [warning(n + i, client=f"198.51.100.{i}") for i in range(10)])
        stage.wait_for(lambda facts: "HTTP status 503" in facts.get("trouble", ""))
        assert "s3cret" not in stage.log.read_text() + Path(f"/proc/{stage.pid}/cmdline").read_text()
        stage.kill()
        produce(kafka, [warning(n + i, client=f"198.51.100.{i}") for i in range(10, 20)])
        hook.status = 200
        stage.start()
        hook.wait_for(1)
        stage.wait_for(lambda facts: facts.get("notices_told") == 20)
        told = hook.texts()
        assert all(f"198.51.100.{i}\n" in told for i in range(20))
        time.sleep(1.5)
        stage.kill()  # delivered and committed: told no more
        before = len(hook.messages)
        stage.start()
        produce(kafka, [warning(n + 99, client="198.51.100.99")])
        hook.wait_for(before + 1)
        assert "198.51.100.99" in hook.messages[-1]["message"]
        assert hook.messages[-1]["title"] == "goaway: 1 warning (198.51.100.99)"
        assert stage.terminate() == 0


def test_in_quiet_hours_the_zone_is_told_once_though_killed_and_the_rest_in_the_morning(
    running_broker: Broker, kafka: str, hook: HttpSink, tmp_path: Path
) -> None:
    """Tansu drops the metadata of a commit, in which the zone's id stands: there it is told again."""
    again = 0 if running_broker.durable else 1
    zone = "goaway: 1 notice about a zone (zen.example)"
    n, now = next(numbers), datetime.now(UTC)
    quiet = (
        f'quiet_from = "{now - timedelta(hours=2):%H:%M}"\nquiet_to = "{now + timedelta(hours=2):%H:%M}"\n'
    )
    with NotifyProcess(tmp_path, kafka, hook.url, policy=f"[notify]\ndigest_s = 1\n{quiet}") as stage:
        produce(kafka, [warning(n, client="198.18.0.1")])
        produce(kafka, [warning(n + 1, client="zen.example", about="zone", text="does not answer")])
        hook.wait_for(1)
        stage.wait_for(lambda facts: (facts.get("notices_told"), facts.get("notices_waiting")) == (1, 1))
        time.sleep(1.5)
        stage.kill()
        stage.start()
        stage.wait_for(lambda facts: facts.get("notices_waiting") == 1)
        time.sleep(2.5)
        assert [m["title"] for m in hook.messages] == [zone] * (1 + again)
        stage.kill()
        stage.policy("[notify]\ndigest_s = 1\n")
        stage.start()
        hook.wait_for(2 + again)
        time.sleep(2.5)
        assert stage.terminate() == 0
    morning = hook.messages[-1]["title"]
    if running_broker.durable:
        assert morning == "goaway: 1 warning (198.18.0.1)"
    assert morning.endswith("198.18.0.1)")
    assert len(hook.messages) == 2 + again


def test_a_flood_of_50_000_warnings_is_a_handful_of_messages(
    kafka: str, hook: HttpSink, tmp_path: Path
) -> None:
    n = next(numbers)
    with NotifyProcess(tmp_path, kafka, hook.url, policy="[notify]\ndigest_s = 0\n") as stage:
        produce(
            kafka, [warning(n + i, client=f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}") for i in range(50_000)]
        )
        stage.wait_for(lambda facts: facts.get("notices_told") == 50_000, timeout_s=240)
        resident_mb = int(Path(f"/proc/{stage.pid}/statm").read_text().split()[1]) * 4096 / 1e6
        time.sleep(2)
        assert stage.terminate() == 0
    totals = [re.match(r"goaway: (\d+) warning", m["title"]) for m in hook.messages]
    assert sum(int(total.group(1)) for total in totals if total) == 50_000
    assert len(hook.messages) <= 25
    print(f"50000 warnings: {len(hook.messages)} messages, {resident_mb:.0f} MB")
    assert resident_mb < 250


def test_a_worker_that_does_not_keep_up_is_told_and_put_on_record_once(
    own_broker: Broker, hook: HttpSink, tmp_path: Path
) -> None:
    settings = Settings(kafka=KafkaSettings(bootstrap=own_broker.address), notify_urls=hook.url)
    policy, stop = Policy(), threading.Event()
    policy = Policy(notify=type(policy.notify)(digest_s=0, about=("pipeline",)))
    status = StatusFile(tmp_path / "notify.json")
    arguments = {"status": status, "stop": stop, "patience_s": 3.0}
    records = Consumer(
        client_config(settings.kafka, group_id=f"look-{time.time()}", auto_offset_reset="latest")
    )
    records.subscribe([WARNINGS])
    deadline = time.monotonic() + 30
    while not records.assignment() and time.monotonic() < deadline:
        records.poll(0.1)
    stage = threading.Thread(target=run_notify, args=(settings, policy), kwargs=arguments)
    stage.start()
    try:
        producer = Producer(client_config(settings.kafka))
        producer.produce(EVENTS, b"not an event, and nobody reads it\n", "192.0.2.1")
        producer.flush(30)
        hook.wait_for(1)
        time.sleep(8)  # two looks more
    finally:
        stop.set()
        stage.join(30)
    (message,) = hook.messages
    assert "the worker does not keep up, or none runs. Try: goaway status" in message["message"]
    found = []
    while (record := records.poll(2.0)) is not None:
        assert record.error() is None
        if (found_one := decode_warning(record.value())).about == "pipeline":  # Tansu's latest is early
            found.append(found_one)
    records.close()
    assert Counter((it.about, it.client, str(it.address)) for it in found) == {
        ("pipeline", "worker", "::"): 1
    }


@pytest.mark.needs("tansu")
def test_kafka_away_and_a_silent_stage_are_told_and_their_end_too(tmp_path: Path) -> None:
    broker = open_broker("tansu", folder=tmp_path / "tansu")
    start_or_skip(broker)
    settings = KafkaSettings(bootstrap=broker.address)
    create_topics(settings)
    said: list[LimitWarning] = []
    (tmp_path / "status").mkdir()
    (tmp_path / "up.json").write_text("{}")
    (tmp_path / "status" / "sink.json").write_text(json.dumps({"written": time.time() - 100}))
    watch = Watch(settings, said.append, data=tmp_path, away_s=1.0, look_every_s=0.3)
    watch.start()

    def wait_for(text: str) -> None:
        deadline = time.monotonic() + 60
        while not any(text in warning.text for warning in said):
            assert time.monotonic() < deadline, said
            time.sleep(0.05)

    try:
        wait_for("stage sink has not reported for 100 s. Try: less ")
        StatusFile(tmp_path / "status" / "sink.json").write({})
        wait_for("stage sink reports again, after 10")
        broker.stop()
        wait_for("Kafka does not answer. Try: goaway doctor")
        assert watch.away
        broker.start()
        create_topics(settings)
        wait_for("Kafka answers again, after ")
        (tmp_path / "up.json").unlink()  # stopped in peace: nobody is expected to report
        (tmp_path / "status" / "sink.json").write_text(json.dumps({"written": 0}))
        time.sleep(1)
    finally:
        watch.stop()
        watch.join(20)
        broker.stop()
    assert len(said) == 4
    assert len({warning.id for warning in said}) == 4


def test_a_changed_policy_is_in_force_without_a_restart(kafka: str, hook: HttpSink, tmp_path: Path) -> None:
    n, settings = next(numbers), KafkaSettings(bootstrap=kafka)

    def only_blocks(entries: Entries) -> Entries:
        return {**entries, "notify": {"about": ["block"], "digest_s": 0}}

    def everything(entries: Entries) -> Entries:
        return {name: row for name, row in entries.items() if name != "notify"}

    with NotifyProcess(tmp_path, kafka, hook.url, policy="[notify]\ndigest_s = 3600\n") as stage:
        change = change_policy(settings, {}, only_blocks, who="test", what="blocks only")
        assert change is not None
        try:
            stage.wait_for(lambda facts: facts.get("policy_change") == change.number)
            produce(kafka, [warning(n, client="192.0.2.50"), block(n + 1, client="192.0.2.51")])
            hook.wait_for(1)
            assert stage.terminate() == 0
        finally:
            change_policy(settings, {}, everything, who="test", what="as before")
    assert [m["title"] for m in hook.messages] == ["goaway: 1 block (192.0.2.51)"]
