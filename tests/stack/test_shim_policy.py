"""Changes of policy and decisions of others, over real brokers, in force on two shims at once."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from msgspec.structs import replace

from streams.config import KafkaSettings
from streams.embedded.broker import open_broker
from streams.kafka import client_config, create_topics
from streams.model.client import Address
from streams.model.decision import Decision
from streams.model.greylist import greylist_triplet
from streams.policy_writer import change_policy
from streams.topics import DECISIONS
from streams.wire.frames import encode
from streams.wire.policy_entries import Entries
from tests.policy_cases import decision
from tests.shim_process import ShimProcess, ask
from tests.stack.brokers import start_or_skip

REFUSED = "551 5.7.1 Go away: exceeded connection rate limit"
MAIL = {"sender": "a@example.org", "recipient": "b@example.com"}
TRIALS = 20

Two = tuple[ShimProcess, ShimProcess]


class _Kafka:
    """Writes what a worker and an administrator write. Its policy topic is its own broker's."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.settings = KafkaSettings(bootstrap=address)
        create_topics(self.settings)
        self._producer = Producer(client_config(self.settings, linger_ms=0))

    def send(self, *decisions: Decision) -> None:
        for made in decisions:
            self._producer.produce(DECISIONS, encode(made), key=made.key)
        assert self._producer.flush(30) == 0

    def put(self, rows: dict[str, dict[str, object]], drop: tuple[str, ...] = ()) -> None:
        """Put these entries in force, and take those away."""

        def edit(entries: Entries) -> Entries:
            return {key: row for key, row in entries.items() if key not in drop} | rows

        change_policy(self.settings, {}, edit, who="test", what="test")


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Kafka]:
    """A broker of this module alone: its policy is nobody else's."""
    running = open_broker("tansu", folder=tmp_path_factory.mktemp("tansu"))
    start_or_skip(running)
    yield _Kafka(running.address)
    running.stop()


@pytest.fixture
def two(kafka: _Kafka, tmp_path: Path) -> Iterator[Two]:
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    first, second = (ShimProcess(it, "inet:127.0.0.1:0", kafka=kafka.address) for it in folders)
    with first, second:
        for shim in (first, second):
            shim.wait_for("caught_up", True)
        yield first, second


pytestmark = pytest.mark.needs("tansu")


def _client() -> str:
    """An address that no other test asks about."""
    return f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"


def _told(action: str, address: str, for_s: float = 60.0, trigger: str = "rate", **more: str) -> Decision:
    now = time.time_ns() // 1000
    made = decision("rate", address, now, now + int(for_s * 1e6), "exceeded connection rate limit")
    return replace(made, action=action, trigger=trigger, address=Address(address), **more)


def _until(shims: Two, address: str, answer: str, stage: str = "CONNECT", **attributes: str) -> float:
    """Ask both until both answer so; how many seconds it took."""
    started = time.perf_counter()
    for shim in shims:
        with shim.connect() as peer:
            while (got := ask(peer, address, stage, **attributes)) != answer:
                assert time.perf_counter() < started + 15, (got, shim.facts(), shim.log.read_text())
                time.sleep(0.001)
    return time.perf_counter() - started


def _refusal(shim: ShimProcess, address: str, **attributes: str) -> str:
    with shim.connect() as peer:
        return ask(peer, address, "RCPT", **attributes)


def test_an_exemption_beats_a_block_that_stands_within_a_second_on_two_shims(kafka: _Kafka, two: Two) -> None:
    took = []
    for number in range(TRIALS):
        network = f"172.16.{number}"
        kafka.send(_told("block", f"{network}.9"))
        _until(two, f"{network}.9", REFUSED)
        kafka.put({f"exempt/rate/{network}.0/24": {"note": "partner"}})
        took.append(_until(two, f"{network}.9", "DUNNO"))
    assert max(took) < 1.0, took
    kafka.put({}, drop=tuple(f"exempt/rate/172.16.{number}.0/24" for number in range(TRIALS)))
    _until(two, "172.16.0.9", REFUSED)
    assert "Connection accepted: 172.16.0.9" in two[0].log.read_text()


def test_a_release_lets_in_within_a_second_on_two_shims(kafka: _Kafka, two: Two) -> None:
    took = []
    for _ in range(TRIALS):
        address = _client()
        kafka.send(_told("block", address))
        _until(two, address, REFUSED)
        kafka.send(_told("release", address))
        took.append(_until(two, address, "DUNNO"))
    assert max(took) < 1.0, took


def test_a_suspension_lifts_everything_of_its_module_and_ends_by_itself(kafka: _Kafka, two: Two) -> None:
    address = _client()
    kafka.send(_told("block", address))
    _until(two, address, REFUSED)
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
    kafka.put({"suspend/rate": {"until": until}})
    _until(two, address, "DUNNO")
    _until(two, address, REFUSED)
    kafka.put({}, drop=("suspend/rate",))


def test_an_administrators_block_comes_and_goes(kafka: _Kafka, two: Two) -> None:
    address = _client()
    _until(two, address, "DUNNO")
    kafka.put({f"blocks/{address}": {"note": "spam"}})
    _until(two, address, "551 5.7.1 Go away: blocked by administrator: spam")
    kafka.put({}, drop=(f"blocks/{address}",))
    _until(two, address, "DUNNO")


def test_what_one_shim_put_off_another_one_knows_and_a_restarted_one(
    kafka: _Kafka, two: Two, tmp_path: Path
) -> None:
    kafka.put({"greylist": {"enabled": True, "delay_s": 4, "retry_window_s": 60}})
    one, other = two
    address, stranger = _client(), _client()
    for shim in two:
        deadline = time.monotonic() + 10
        while _refusal(shim, stranger, sender="x@example.net", recipient="y@example.com") == "DUNNO":
            assert time.monotonic() < deadline, shim.facts()
    first = _refusal(one, address, **MAIL)
    assert first == "451 4.7.1 Go away: greylisted, retry in 4 s"
    began = time.monotonic()
    triplet = greylist_triplet(MAIL["sender"], MAIL["recipient"])
    kafka.send(_told("defer", address, trigger="greylist", triplet=triplet))
    time.sleep(1.1)
    early = _refusal(other, address, **MAIL)
    assert early in {f"451 4.7.1 Go away: greylisted, retry in {left} s" for left in (1, 2, 3)}
    with ShimProcess(tmp_path, "inet:127.0.0.1:0", kafka=kafka.address) as restarted:
        restarted.wait_for("caught_up", True)
        time.sleep(max(0.0, began + 4.2 - time.monotonic()))
        assert _refusal(restarted, address, **MAIL) == "DUNNO"
        learnt = restarted.facts()["learnt"]
        kafka.send(_told("pass", address, trigger="greylist"))
        restarted.wait_for("learnt", int(str(learnt)) + 1)
        assert _refusal(restarted, address, sender="new@example.org", recipient="b@example.com") == "DUNNO"
        assert restarted.facts()["greylist_known"] != 0
    kafka.put({}, drop=("greylist",))


def test_a_first_verdict_is_waited_for(kafka: _Kafka, two: Two) -> None:
    kafka.put({"reputation": {"wait_ms": 5000}, "zones/zen.example.org": {"name": "Example"}})
    one = two[0]
    reason = "IP listed in DNSBL: [Example]"
    deadline = time.monotonic() + 10
    waited = False
    while not waited:
        assert time.monotonic() < deadline, one.facts()
        address = _client()
        with one.connect() as peer, one.connect() as other:
            peer.sendall(
                f"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address={address}\n\n".encode()
            )
            peer.settimeout(0.2)
            try:
                peer.recv(100)
                continue  # the policy is not in force yet
            except TimeoutError:
                waited = True
            assert ask(other, _client()) == "DUNNO"
            kafka.send(replace(_told("block", address, trigger="reputation"), reason=reason))
            peer.settimeout(3)
            assert peer.recv(1000).decode() == f"action=571 5.7.1 Go away: {reason}\n\n"
            assert ask(other, address) == f"551 5.7.1 Go away: {reason}"
    one.wait_for("waited", 1)
    kafka.put({}, drop=("reputation", "zones/zen.example.org"))


def test_the_status_says_which_policy_is_in_force(kafka: _Kafka, two: Two) -> None:
    before = two[0].facts()
    kafka.put({"limits": {"cool_down_s": 60 + secrets.randbelow(1000)}})
    deadline = time.monotonic() + 10
    while (now := two[0].facts())["policy_version"] == before["policy_version"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert int(str(now["policy_number"])) > int(str(before["policy_number"]))
    two[1].wait_for("policy_version", now["policy_version"])
