"""The shim behind real brokers: a decision that is produced is answered, whatever happens to Kafka."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streams.config import KafkaSettings
from streams.embedded.broker import open_broker
from streams.kafka import client_config, create_topics
from streams.model.client import ClientPrefixes, parse_address
from streams.model.decision import Decision
from streams.model.instant import MICROSECONDS
from streams.topics import DECISIONS
from streams.wire.frames import encode
from tests.policy_cases import decision
from tests.shim_process import ShimProcess, ask
from tests.stack.brokers import start_or_skip

REFUSED = "551 5.7.1 Go away: exceeded connection rate limit"


class _Decisions:
    """Produces decisions about clients that no other test of the run has."""

    def __init__(self, address: str) -> None:
        create_topics(KafkaSettings(bootstrap=address))
        self._producer = Producer(client_config(KafkaSettings(bootstrap=address), linger_ms=0))
        self._network = f"2001:db8:{secrets.token_hex(2)}"

    def client(self, number: int) -> str:
        """A client's address."""
        return f"{self._network}:{number:x}::1"

    def block(self, number: int, *, for_s: float = 60.0, action: str = "block") -> str:
        """Produce a decision that begins now; the client's address."""
        address, now = self.client(number), time.time_ns() // 1000
        client = ClientPrefixes().client_of(parse_address(address))
        made = decision(
            "rate", client, now, now + int(for_s * MICROSECONDS), "exceeded connection rate limit"
        )
        if action == "release":
            made = decision("rate", client, now, None, action="release")
        self.send(encode(made), made)
        return address

    def send(self, value: bytes, about: Decision | None = None) -> None:
        """Produce any bytes, and wait for the broker to have them."""
        self._producer.produce(DECISIONS, value, key=f"rate:{about.client}" if about else "rate:junk")
        assert self._producer.flush(30) == 0


@pytest.fixture
def decisions(broker: str) -> _Decisions:
    return _Decisions(broker)


@pytest.fixture
def shim(broker: str, decisions: _Decisions, tmp_path: Path) -> Iterator[ShimProcess]:
    with ShimProcess(tmp_path, "inet:127.0.0.1:0", kafka=broker) as running:
        running.wait_for("caught_up", True)
        yield running


def _wait_for_answer(shim: ShimProcess, address: str, answer: str) -> None:
    deadline = time.monotonic() + 30
    with shim.connect() as peer:
        while (got := ask(peer, address)) != answer:
            assert time.monotonic() < deadline, (got, shim.facts(), shim.log.read_text())
            time.sleep(0.001)


def test_decisions_of_before_the_start_are_known_when_it_has_caught_up(
    broker: str, decisions: _Decisions, tmp_path: Path
) -> None:
    blocked = [decisions.block(number) for number in range(200)]
    with ShimProcess(tmp_path, "inet:127.0.0.1:0", kafka=broker) as shim:
        shim.wait_for("caught_up", True)
        _wait_for_answer(shim, blocked[-1], REFUSED)
        with shim.connect() as peer:
            assert [ask(peer, address) for address in blocked] == [REFUSED] * 200
            assert ask(peer, blocked[0], "RCPT").startswith("571 5.7.1 ")
            assert ask(peer, decisions.client(200)) == "DUNNO"
        assert shim.log.read_text().count("caught up: ") == 1
        assert "standing" in shim.log.read_text()


def test_a_decision_is_answered_within_milliseconds_and_ends(
    shim: ShimProcess, decisions: _Decisions
) -> None:
    took = []
    with shim.connect() as peer:
        for number in range(100):
            address = decisions.block(number)
            acknowledged = time.perf_counter()
            while ask(peer, address) != REFUSED:
                assert time.perf_counter() < acknowledged + 10, shim.facts()
            took.append(time.perf_counter() - acknowledged)
        assert sorted(took)[50] < 0.05, f"median {sorted(took)[50] * 1000:.1f} ms"
    address = decisions.block(1000, for_s=1.0)
    _wait_for_answer(shim, address, REFUSED)
    _wait_for_answer(shim, address, "DUNNO")


def test_a_release_lets_the_client_in(shim: ShimProcess, decisions: _Decisions) -> None:
    address = decisions.block(1)
    _wait_for_answer(shim, address, REFUSED)
    decisions.block(1, action="release")
    _wait_for_answer(shim, address, "DUNNO")


def test_what_is_no_decision_is_counted_and_passed_over(shim: ShimProcess, decisions: _Decisions) -> None:
    before = shim.facts()["decisions_unreadable"]
    assert isinstance(before, int)
    for junk in (b"", b"{}", b"\xff\x00 junk", b"[" * 100_000):
        decisions.send(junk)
    _wait_for_answer(shim, decisions.block(1), REFUSED)
    shim.wait_for("decisions_unreadable", before + 4)
    assert f"{DECISIONS}[" in shim.log.read_text()


@pytest.mark.needs("tansu")
def test_kafka_late_then_away_then_back_and_empty(tmp_path: Path) -> None:
    running = open_broker("tansu", folder=tmp_path / "first")
    start_or_skip(running)
    settings = KafkaSettings(bootstrap=running.address)
    with ShimProcess(tmp_path, "inet:127.0.0.1:0", kafka=running.address) as shim:
        shim.wait_for("kafka", "no topic")
        with shim.connect() as peer:
            assert ask(peer, "192.0.2.1") == "DUNNO"
        made = _Decisions(running.address)
        shim.wait_for("caught_up", True)
        long, short = made.block(1, for_s=600), made.block(2, for_s=8)
        _wait_for_answer(shim, long, REFUSED)
        _wait_for_answer(shim, short, REFUSED)

        running.stop()
        shim.wait_for("kafka", "away")
        _wait_for_answer(shim, long, REFUSED)
        _wait_for_answer(shim, short, "DUNNO")

        running.start()
        assert KafkaSettings(bootstrap=running.address) == settings, "the broker came back elsewhere"
        again = _Decisions(running.address)
        _wait_for_answer(shim, again.block(3), REFUSED)
        _wait_for_answer(shim, long, REFUSED)
        assert shim.log.read_text().count("Traceback") == 0
    running.stop()
