"""A history that comes through a pipe is sent whole, though it is read twice."""

import gzip
import os
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli.replay import replay
from streams.embedded.broker import Broker
from tests.unit.test_replay import SAMPLE, events_of_log

PARTITIONS = 2


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
