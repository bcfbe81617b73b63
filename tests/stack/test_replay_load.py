"""A history that comes through a pipe is sent whole, though it is read twice; a running pipeline is fed none
before somebody says yes."""

import gzip
import json
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.cli.replay import replay
from streams.config import KafkaSettings
from streams.embedded.broker import Broker
from streams.errors import GoawayError
from streams.kafka import onlooker
from streams.status import StatusFile
from streams.topics import EVENTS
from tests.parts import ROOT
from tests.stack.worker_process import APACHE_SESSION_S, EMBEDDED_SESSION_S, WorkerProcess
from tests.unit.test_replay import SAMPLE, events_of_log

PARTITIONS = 2
LOAD: Final = (str(SAMPLE), "--to-kafka")


def feed(broker: Broker, data: Path, *arguments: str) -> Result:
    environ = {"GOAWAY_KAFKA": broker.address, "GOAWAY_DATA": str(data), "GOAWAY_POLICY": None}
    return CliRunner().invoke(replay, [*LOAD, *arguments], env=environ)


def in_a_terminal(broker: Broker, data: Path, answer: str) -> "subprocess.CompletedProcess[str]":
    """The command with a terminal as standard input, on which this is typed."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        return subprocess.run(
            [sys.executable, "-m", "streams.cli", "replay", *LOAD, "--data", str(data)],
            stdin=theirs,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "GOAWAY_KAFKA": broker.address},
            timeout=60,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)


def sent(broker: Broker) -> int:
    """Records on the topic."""
    consumer = onlooker(KafkaSettings(bootstrap=broker.address), "test", wait_ms=20)
    deadline = time.monotonic() + 10
    try:
        places = [TopicPartition(EVENTS, number) for number in range(PARTITIONS)]
        while True:
            try:
                return sum(consumer.get_watermark_offsets(it, timeout=10)[1] for it in places)
            except KafkaException as error:  # Apache Kafka names a leader before it leads
                leads = error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION
                if leads or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
    finally:
        consumer.close()


def test_a_live_worker_is_not_fed_history_unasked(own_broker: Broker, tmp_path: Path) -> None:
    session_s = APACHE_SESSION_S if own_broker.name == "apache" else EMBEDDED_SESSION_S
    with WorkerProcess(tmp_path, own_broker.address, session_s=session_s) as worker:
        worker.wait_for_partitions(PARTITIONS)
        error = feed(own_broker, tmp_path).exception
        assert isinstance(error, GoawayError)
        assert error.exit_code == 1
        assert f"Kafka at {own_broker.address} is followed by a worker (group goaway-decide)" in error.what
        assert "its events and decisions stay on record" in error.what
        assert error.try_next.endswith("the same with --yes")
        no = in_a_terminal(own_broker, tmp_path, "n")
        assert no.returncode == 1, no.stderr
        assert "is followed by a worker" in " ".join(no.stdout.split())
        assert no.stdout.endswith("nothing was sent\n")
        assert sent(own_broker) == 0
        yes = in_a_terminal(own_broker, tmp_path, "y")
        assert yes.returncode == 0, yes.stderr
        before = sent(own_broker)
        assert before
        found = feed(own_broker, tmp_path, "--yes")
        assert found.exit_code == 0, found.output
        assert sent(own_broker) > before


@pytest.mark.needs("tansu")
def test_the_pipeline_of_a_data_folder_is_named(own_broker: Broker, tmp_path: Path) -> None:
    """A sink is in no group, and stores what it reads for good."""
    place = {"pid": os.getpid(), "kafka": own_broker.address, "listen": []}
    (tmp_path / "up.json").write_text(json.dumps(place))
    for stage in ("sink", "worker-1", "ship"):
        StatusFile(tmp_path / "status" / f"{stage}.json").write({"rows": 1})
    error = feed(own_broker, tmp_path).exception
    assert isinstance(error, GoawayError)
    assert f"is followed by the goaway up on {tmp_path} (sink, worker-1)" in error.what
    assert sent(own_broker) == 0
    for file in (tmp_path / "status").iterdir():  # as of stages that ended
        file.write_text(json.dumps({**json.loads(file.read_text()), "written": 1.0}))
    assert feed(own_broker, tmp_path).exit_code == 0
    assert sent(own_broker)


@pytest.mark.needs("tansu")
@pytest.mark.parametrize("own_broker", ["tansu"], indirect=True)
def test_a_worker_may_be_on_a_broker_that_does_not_answer(
    own_broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brokers that run here are one each: the answer is that of a cluster which lists no groups."""
    cluster = Producer({"test.mock.num.brokers": 2, "log_level": 2})
    brokers = cluster.list_topics(timeout=10).brokers.values()
    place = ",".join(f"{it.host}:{it.port}" for it in brokers)
    client, ask = AdminClient({"bootstrap.servers": place, "log_level": 2}), AdminClient.list_consumer_groups
    monkeypatch.setattr(AdminClient, "list_consumer_groups", lambda _, **asked: ask(client, **asked))
    error = feed(own_broker, tmp_path).exception
    assert isinstance(error, GoawayError)
    assert "a worker, perhaps (group goaway-decide cannot be looked at: Local: Required feature" in error.what
    assert sent(own_broker) == 0
    assert feed(own_broker, tmp_path, "--yes").exit_code == 0
    assert sent(own_broker)


@pytest.mark.parametrize("speed", ["max", "1000000"])
def test_a_pipe_is_sent_as_a_file_is(own_broker: Broker, tmp_path: Path, speed: str) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    content = gzip.decompress(SAMPLE.read_bytes())
    writer = threading.Thread(target=fifo.write_bytes, args=(content,), daemon=True)
    writer.start()
    found = CliRunner().invoke(
        replay,
        [str(fifo), "--to-kafka", "--speed", speed],
        env={"GOAWAY_KAFKA": own_broker.address, "GOAWAY_DATA": str(tmp_path), "GOAWAY_POLICY": None},
    )
    writer.join(5)
    assert found.exit_code == 0, found.output
    assert f"sent {sum(1 for _ in events_of_log(SAMPLE))} events" in found.stderr
