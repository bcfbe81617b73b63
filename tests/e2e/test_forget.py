"""`goaway unblock` and `goaway forget` end what the shim holds, whatever became of broker and worker."""

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.running import LET_IN, REFUSED, RunningUp, WrittenLog, until

pytestmark = pytest.mark.needs("tansu")

POLICY: Final = "[limits]\ncool_down_s = 3600\n\n[greylist]\nenabled = true\ndelay_s = 20\n"
BLOCKED: Final = "203.0.113.30"
GREYLISTED: Final = "203.0.114.30"


def seconds_left(up: RunningUp) -> int:
    """How long the shim puts the client off."""
    said = up.ask(GREYLISTED, "RCPT", sender="a@example.org", recipient="b@example.com")
    found = re.fullmatch(r"451 4\.7\.1 Go away: greylisted, retry in (\d+) s", said)
    assert found is not None, said
    return int(found[1])


def test_what_the_shim_holds_is_dropped(tmp_path: Path) -> None:
    log = WrittenLog(tmp_path / "mail.log")
    with RunningUp(tmp_path, log.path, policy=POLICY) as up:
        assert seconds_left(up) == 20
        time.sleep(3)
        assert seconds_left(up) < 19
        assert "all that was remembered is dropped" in up.goaway("forget", GREYLISTED)
        until(lambda: seconds_left(up) == 20, "the whole delay again", seconds=3.0)
        assert "new mail is put off first (greylist), 20 s" in up.goaway("explain", GREYLISTED)

        said = up.goaway("explain", "203.0.114.0/24", code=2)
        assert "203.0.114.0/24 holds many clients" in said
        # the policy in force is that of the folder
        assert "the policy has no zone" in up.goaway("reputation", "zones", code=2)

        log.connect(BLOCKED, 11)
        up.wait_answer(BLOCKED)
        worker = up.part_pid("worker")
        os.kill(worker, signal.SIGSTOP)
        try:
            (told,) = json.loads(up.goaway("unblock", BLOCKED, "--json", code=1))
            assert (told["done"], [it["trigger"] for it in told["stood"]]) == (False, ["rate"])
            assert "no worker has answered" in up.goaway("forget", GREYLISTED, code=1)
        finally:
            os.kill(worker, signal.SIGCONT)
        up.wait_answer(BLOCKED, LET_IN)

        log.connect(BLOCKED, 12)
        up.wait_answer(BLOCKED)
        broker = up.part_pid("broker")
        os.kill(broker, signal.SIGKILL)
        until(lambda: up.part_pid("broker") not in (0, broker), up.explain)
        until(lambda: up.facts("worker").get("pid") != worker, up.explain, seconds=60)
        up.wait_ready()
        # the worker and Kafka know of nobody, the shim keeps what it knew
        assert up.ask(BLOCKED) == REFUSED
        until(lambda: up.explained(BLOCKED)["refused"] is None, "nothing on record")
        assert "no block of a rule was on record" in up.goaway("unblock", BLOCKED)
        up.wait_answer(BLOCKED, LET_IN, seconds=5.0)
