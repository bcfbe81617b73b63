"""Changes of the policy while two workers and two shims run: at once, everywhere, and nothing lost by it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from streams.model.client import Client
from streams.policy_writer import read_policy_log
from streams.recorded import decisions_of
from tests.e2e.running import LET_IN, PARTITIONS, REFUSED, RunningUp, WrittenLog, until
from tests.rbldnsd import ENTRIES, Rbldnsd, zone_file
from tests.shim_process import ShimProcess, ask

pytestmark = pytest.mark.needs("tansu")

IN_FORCE_S: Final = 1.0
"""Within this a change is in force everywhere (mission.md, R2)."""
SETTLED_S: Final = 1.0
"""Time in which a decision would have come round."""
SUSPENDED_S: Final = 25


class Cluster:
    """A `goaway up` with two workers, and one more shim on the same Kafka."""

    def __init__(self, folder: Path) -> None:
        self.log = WrittenLog(folder / "mail.log")
        self.up = RunningUp(folder, self.log.path, arguments=["--workers", "2"])
        self.other: ShimProcess

    def answers(self, address: str) -> list[str]:
        """What both shims say about a connect."""
        with self.other.connect() as peer:
            return [self.up.ask(address), ask(peer, address)]

    def wait_both(self, address: str, answer: str, *, seconds: float = 10.0) -> None:
        """Wait until both say so."""
        until(
            lambda: self.answers(address) == [answer] * 2,
            lambda: f"{answer} about {address}: {self.answers(address)}\n{self.up.explain()}",
            seconds=seconds,
        )

    def abuse(self, address: str, times: int = 12) -> None:
        """Too many connections at once; both shims refuse."""
        self.log.connect(address, times)
        self.wait_both(address, REFUSED)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("live")
    made = Cluster(folder)
    with ExitStack() as stack:
        stack.enter_context(made.up)
        assert sorted(int(facts.get("partitions") or 0) for facts in made.up.workers()) == [2, 2]
        kafka = made.up.kafka.bootstrap
        made.other = stack.enter_context(ShimProcess(folder, "inet:127.0.0.1:0", kafka=kafka))
        made.other.wait_for("caught_up", True)
        made.other.wait_for("policy_number", 1)
        yield made


def when_both(cluster: Cluster, address: str, answer: str, act: Callable[[], object]) -> list[float]:
    """Act; at which wall clock each shim first said so."""
    seen = [0.0, 0.0]

    def watch() -> None:
        deadline = time.monotonic() + 30
        while not all(seen) and time.monotonic() < deadline:
            for place, said in enumerate(cluster.answers(address)):
                if said == answer and not seen[place]:
                    seen[place] = time.time()
            time.sleep(0.005)

    watching = threading.Thread(target=watch)
    watching.start()
    act()
    watching.join()
    assert all(seen), (seen, cluster.up.explain())
    return seen


def test_an_exemption_of_a_network_lets_a_blocked_client_in_everywhere(cluster: Cluster) -> None:
    cluster.abuse("203.0.113.7")
    cluster.abuse("203.0.114.7")
    seen = when_both(
        cluster,
        "203.0.113.7",
        LET_IN,
        lambda: cluster.up.goaway("exempt", "rate", "203.0.113.0/24", "--note", "ticket 4711"),
    )
    change = read_policy_log(cluster.up.kafka).change
    assert change is not None
    took = [at - change.at / 1e6 for at in seen]
    print(f"exempt: let in after {took[0] * 1000:.0f} and {took[1] * 1000:.0f} ms")
    assert max(took) < IN_FORCE_S
    assert cluster.answers("203.0.114.7") == [REFUSED] * 2
    # what it does from now on is not counted
    cluster.log.connect("203.0.113.7", 40)
    time.sleep(SETTLED_S)
    assert cluster.answers("203.0.113.7") == [LET_IN] * 2


def test_unblock_lets_in_everywhere_and_the_client_is_judged_afresh(cluster: Cluster) -> None:
    cluster.abuse("198.51.100.7")
    said: list[str] = []
    seen = when_both(
        cluster, "198.51.100.7", LET_IN, lambda: said.append(cluster.up.goaway("unblock", "198.51.100.7"))
    )
    (release,) = [it for it in decisions_of(cluster.up.kafka, Client("198.51.100.7")) if it.trigger == "rate"]
    took = [at - release.at / 1e6 for at in seen]
    print(f"unblock: let in after {took[0] * 1000:.0f} and {took[1] * 1000:.0f} ms")
    assert (release.action, max(took) < IN_FORCE_S) == ("release", True)
    assert "released from rate" in said[0]
    assert cluster.answers("198.51.100.7") == [LET_IN] * 2
    cluster.log.connect("198.51.100.7", 10)
    time.sleep(SETTLED_S)
    assert cluster.answers("198.51.100.7") == [LET_IN] * 2
    cluster.log.connect("198.51.100.7", 1)
    cluster.wait_both("198.51.100.7", REFUSED)


def test_a_change_loses_no_counters(cluster: Cluster) -> None:
    before = sum(int(facts["events"] or 0) for facts in cluster.up.workers())
    cluster.log.connect("198.51.100.20", 8)
    until(
        lambda: sum(int(facts["events"] or 0) for facts in cluster.up.workers()) >= before + 8,
        "the workers to have counted",
    )
    cluster.up.goaway("policy", "set", "limits.requests_per_minute", "40")
    number = read_policy_log(cluster.up.kafka).number
    until(
        lambda: all(facts.get("policy_change") == number for facts in cluster.up.workers()),
        lambda: f"change {number}: {cluster.up.workers()}",
    )
    cluster.log.connect("198.51.100.20", 2)
    time.sleep(SETTLED_S)
    assert cluster.answers("198.51.100.20") == [LET_IN] * 2
    cluster.log.connect("198.51.100.20", 2)
    cluster.wait_both("198.51.100.20", REFUSED)


def test_a_rule_in_shadow_records_and_refuses_nobody(cluster: Cluster) -> None:
    cluster.up.goaway("policy", "set", "shadow.rules", '["concurrent_connections"]')
    number = read_policy_log(cluster.up.kafka).number
    until(
        lambda: all(facts.get("policy_change") == number for facts in cluster.up.workers()),
        lambda: f"change {number}: {cluster.up.workers()}",
    )
    cluster.log.connect("198.51.100.30", 12)
    until(lambda: bool(cluster.up.explained("198.51.100.30")["stands"]), "the decision on record")
    found = cluster.up.explained("198.51.100.30")
    (stands,) = found["stands"]
    assert stands["rule"] == "concurrent_connections"
    assert "shadow" in stands["lifted_by"]
    assert found["refused"] is None
    assert cluster.answers("198.51.100.30") == [LET_IN] * 2
    # the other rules of the trigger still refuse
    cluster.log.connect("198.51.100.30", 20)
    cluster.wait_both("198.51.100.30", REFUSED)
    cluster.up.goaway("policy", "set", "shadow.rules", "default")


@pytest.mark.needs("rbldnsd")
def test_a_zone_that_a_command_adds_and_another_switches_off(cluster: Cluster) -> None:
    """`up` starts the reputation stage for it; what a zone said no longer counts once it is switched off."""
    listed = zone_file(ENTRIES + "192.0.2.50\n192.0.2.51\n")
    with Rbldnsd({"bl.example": ("ip4set", listed)}) as dns_server:
        cluster.up.goaway("policy", "set", "reputation.resolvers", f'["{dns_server.address}"]')
        cluster.up.goaway("policy", "set", "zones.bl.example.name", "BL")
        until(
            lambda: cluster.up.facts("reputation").get("partitions") == PARTITIONS,
            lambda: f"the reputation stage\n{cluster.up.explain()}",
        )
        cluster.log.connect("192.0.2.50", 1)
        cluster.wait_both("192.0.2.50", "551 5.7.1 Go away: IP listed in DNSBL: [BL]")
        cluster.up.goaway("policy", "set", "zones.bl.example.enabled", "false")
        cluster.wait_both("192.0.2.50", LET_IN, seconds=IN_FORCE_S + 1)
        assert cluster.up.explained("192.0.2.50")["refused"] is None
        cluster.log.connect("192.0.2.51", 1)
        time.sleep(SETTLED_S)
        assert cluster.answers("192.0.2.51") == [LET_IN] * 2


def test_the_broker_in_memory_is_killed_and_what_commands_did_stays(cluster: Cluster) -> None:
    cluster.up.goaway("exempt", "rate", "192.0.2.60", "--note", "at night")
    cluster.up.goaway("policy", "set", "limits.concurrent_connections", "5")
    killed = cluster.up.part_pid("broker")
    os.kill(killed, signal.SIGKILL)
    until(lambda: "runs again" in cluster.up.output, lambda: f"another broker\n{cluster.up.explain()}")
    until(
        lambda: (
            {facts.get("policy_change") for facts in cluster.up.workers()} == {1}
            and sum(int(facts.get("partitions") or 0) for facts in cluster.up.workers()) == PARTITIONS
        ),
        lambda: f"the workers\n{cluster.up.explain()}",
    )
    cluster.log.connect("192.0.2.60", 12)
    cluster.abuse("192.0.2.61", 6)
    assert cluster.answers("192.0.2.60") == [LET_IN] * 2
    found = cluster.up.explained("192.0.2.60")
    assert found["modules"]["rate"] == "exempt by 192.0.2.60 (at night)"
    assert found["limits"]["concurrent_connections"] == 5
    # and changes go on being made
    cluster.up.goaway("exempt", "rate", "192.0.2.61")
    cluster.wait_both("192.0.2.61", LET_IN, seconds=IN_FORCE_S + 1)


def test_what_commands_did_outlives_a_restart_with_an_edited_file(tmp_path: Path) -> None:
    """A suspension that ends by itself, an exemption; the broker in memory forgets everything meanwhile."""
    log = WrittenLog(tmp_path / "mail.log")
    up = RunningUp(tmp_path, log.path, policy="[limits]\nconcurrent_connections = 10\ncool_down_s = 300\n")
    with up:
        log.connect("198.51.100.7", 12)
        up.wait_answer("198.51.100.7", REFUSED)
        up.goaway("exempt", "rate", "198.51.100.9", "--note", "at night")
        up.goaway("suspend", "rate", "--for", f"{SUSPENDED_S}s")
        suspended = time.monotonic()
        up.wait_answer("198.51.100.7", LET_IN, seconds=IN_FORCE_S + 1)

        (tmp_path / "policy.toml").write_text("[limits]\nconcurrent_connections = 5\ncool_down_s = 300\n")
        up.start_again()
        log.connect("198.51.100.8", 12)
        found = up.explained("198.51.100.8")
        assert found["limits"]["concurrent_connections"] == 5
        assert up.explained("198.51.100.9")["modules"]["rate"] == "exempt by 198.51.100.9 (at night)"
        left_s = suspended + SUSPENDED_S - time.monotonic()
        print(f"{left_s:.1f} s of the suspension are left after the restart")
        if left_s > 1:
            assert found["modules"]["rate"] == "suspended for everybody"
            time.sleep(0.5)
            assert up.ask("198.51.100.8") == LET_IN
            time.sleep(left_s)
        time.sleep(0.5)
        assert up.explained("198.51.100.8")["modules"]["rate"] == "judges it"
        log.connect("198.51.100.10", 4)
        log.connect("198.51.100.9", 12)
        log.connect("198.51.100.11", 6)
        up.wait_answer("198.51.100.11", REFUSED)
        time.sleep(SETTLED_S)
        assert up.ask("198.51.100.10") == LET_IN
        assert up.ask("198.51.100.9") == LET_IN
