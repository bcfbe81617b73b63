"""The reputation stage as a process, on real brokers, asking a real rbldnsd."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streams.config import KafkaSettings
from streams.embedded.broker import Broker
from streams.kafka import client_config
from streams.model.client import Address, Client, ClientPrefixes
from streams.model.decision import LimitWarning
from streams.model.event import Event, EventKind
from streams.model.instant import MICROSECONDS, Instant
from streams.policy_writer import change_policy
from streams.topics import EVENTS, WARNINGS
from streams.wire.frames import decode_frame, decode_warning, encode_frame
from streams.wire.partition import partition_of
from streams.wire.policy_entries import Entries, entries_of
from tests.rbldnsd import ENTRIES, Rbldnsd, zone_file
from tests.stack.reputation_process import PARTITIONS, StageProcess

pytestmark = pytest.mark.needs("rbldnsd")

POLICY = """
[reputation]
resolvers = ["RESOLVER"]
timeout_ms = 500
health_every_s = 1
partners_every_s = 1
[protocol]
invalid_sender = true
[[zones]]
domain = "bl.example"
name = "BL"
delisting = "https://bl.example/remove"
[[exemptions]]
module = "dnsbl"
address = "192.0.2.99"
[[partners]]
address = "192.0.2.250"
name = "ACME"
"""
FILE = zone_file(ENTRIES + "192.0.2.0/24\n")
MAIL = "$SOA 60 ns.example admin.example 1 1 1 1 60\n@ A 192.0.2.1\ngood MX 10 mail.example\n"


@pytest.fixture
def dns_server() -> Iterator[Rbldnsd]:
    """A DNSBL, and a domain that sends mail."""
    with Rbldnsd({"bl.example": ("ip4trie", FILE), "mail.example": ("generic", MAIL)}) as running:
        yield running


def stage_process(folder: Path, kafka: Broker, dns_server: Rbldnsd) -> StageProcess:
    return StageProcess(folder, kafka.address, POLICY.replace("RESOLVER", dns_server.address))


class Kafka:
    """Sends events and follows what comes of them."""

    def __init__(self, address: str) -> None:
        settings = KafkaSettings(bootstrap=address)
        self._producer = Producer(client_config(settings, linger_ms=0))
        self._consumer = Consumer(
            client_config(settings, group_id="test", enable_auto_commit=False, fetch_wait_max_ms=20)
        )
        self._consumer.assign(
            [TopicPartition(t, p, 0) for t in (EVENTS, WARNINGS) for p in range(PARTITIONS)]
        )
        self.told: list[Event] = []
        """Events of the stage."""
        self.warnings: list[LimitWarning] = []
        self._sent = 0

    def send(self, address: str, kind: EventKind = "connect", *, ago_s: float = 0, sender: str = "") -> Event:
        """One event, in its client's partition."""
        self._sent += 1
        at = Instant(time.time_ns() // 1000 - int(ago_s * MICROSECONDS))
        client: Client = ClientPrefixes().client_of(Address(address))
        event = Event(
            id=f"{address}/{self._sent}", at=at, kind=kind, client=client, address=Address(address),
            session=f"mx/{self._sent}", host="mx", sender=sender,
        )  # fmt: skip
        self._producer.produce(EVENTS, encode_frame([event]), partition=partition_of(client, PARTITIONS))
        self._producer.flush(10)
        return event

    def take(self, true: Callable[[], object], timeout_s: float = 20) -> None:
        """Follow until this holds."""
        deadline = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < deadline, (self.told, self.warnings)
            self._poll()

    def rest(self, seconds: float) -> None:
        """Follow for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._poll()

    def _poll(self) -> None:
        record = self._consumer.poll(0.05)
        if record is None or record.error() is not None:
            return
        value = record.value() or b""
        if record.topic() == WARNINGS:
            self.warnings.append(decode_warning(value))
            return
        for event in decode_frame(value):
            if event.service == "reputation":
                assert record.partition() == partition_of(event.client, PARTITIONS)
                self.told.append(event)

    def close(self) -> None:
        """Leave."""
        self._consumer.close()


def test_listings_senders_partners_and_a_restart(
    own_broker: Broker, dns_server: Rbldnsd, tmp_path: Path
) -> None:
    kafka = Kafka(own_broker.address)
    old = kafka.send("192.0.2.8", ago_s=7200)
    with stage_process(tmp_path, own_broker, dns_server) as stage:
        sent = kafka.send("192.0.2.7")
        kafka.send("198.51.100.7")
        kafka.send("192.0.2.99")
        kafka.send("192.168.1.5")
        kafka.send("198.51.100.7", "message", sender="ada@gone.mail.example")
        kafka.send("198.51.100.7", "message", sender="ada@good.mail.example")
        kafka.take(lambda: len(kafka.told) >= 2 and kafka.warnings)
        kafka.rest(1.5)
        assert sorted((e.kind, e.address, e.detail, e.session) for e in kafka.told) == [
            ("reputation", "192.0.2.7", "bl.example 127.0.0.2", sent.session),
            ("violation", "198.51.100.7", "gone.mail.example", "mx/6"),
        ]
        assert [(one.about, one.client, one.address, one.text) for one in kafka.warnings] == [
            (
                "partner",
                "192.0.2.250",
                "192.0.2.250",
                "partner ACME (192.0.2.250) is listed in [BL]: delisting page https://bl.example/remove",
            )
        ]
        assert not any("8.2.0.192" in name for name in dns_server.queries), old
        facts = stage.wait_for(lambda facts: facts["records_waiting"] == 0 and facts["old"] == 1)
        assert (facts["looked_up"], facts["listed"], facts["left_alone"]) == (2, 1, 2)
        # killed between two connects: the partner is not told again, the client is looked up again
        stage.kill()
        stage.start()
        again = kafka.send("192.0.2.7")
        kafka.take(lambda: any(event.session == again.session for event in kafka.told))
        kafka.rest(1.5)
        assert len(kafka.warnings) == 1
        # cleared
        dns_server.write("bl.example", zone_file(ENTRIES))
        kafka.take(lambda: len(kafka.warnings) == 2)
        assert kafka.warnings[1].text == "partner ACME (192.0.2.250) is no longer listed in [BL]"
        started = time.monotonic()
        assert stage.terminate(15) == 0
        print(f"SIGTERM took {time.monotonic() - started:.1f} s")
    kafka.close()


def test_killed_dns_server_is_one_warning_and_one_when_it_is_back(
    own_broker: Broker, dns_server: Rbldnsd, tmp_path: Path
) -> None:
    kafka = Kafka(own_broker.address)
    with stage_process(tmp_path, own_broker, dns_server) as stage:
        kafka.send("192.0.2.7")
        kafka.take(lambda: kafka.told and kafka.warnings)
        dns_server.kill()
        for n in range(20, 60):
            kafka.send(f"192.0.2.{n}")
        kafka.take(lambda: [one for one in kafka.warnings if one.about == "zone"])
        stage.wait_for(lambda facts: facts["zones_out"] == "bl.example" and facts["waiting"] == 0)
        dns_server.start()
        kafka.take(lambda: len([one for one in kafka.warnings if one.about == "zone"]) == 2)
        kafka.send("192.0.2.70")
        kafka.take(lambda: any(event.address == "192.0.2.70" for event in kafka.told))
        kafka.rest(1)
        zone = [one for one in kafka.warnings if one.about == "zone"]
        assert [(one.client, one.address, "is out" in one.text) for one in zone] == [
            ("bl.example", "::", True),
            ("bl.example", "::", False),
        ]
    kafka.close()


@pytest.mark.parametrize(
    ("code", "word"),
    [("127.255.255.254", "public or open"), ("192.0.2.80", "no DNSBL's code"), ("127.0.0.2", "everybody")],
)
def test_broken_zone_refuses_nobody_and_is_one_warning(
    own_broker: Broker, tmp_path: Path, code: str, word: str
) -> None:
    kafka = Kafka(own_broker.address)
    file = zone_file("0.0.0.0/0\n", code=code)
    with (
        Rbldnsd({"bl.example": ("ip4trie", file)}) as dns_server,
        stage_process(tmp_path, own_broker, dns_server),
    ):
        for n in range(20, 60):
            kafka.send(f"192.0.2.{n}")
        kafka.take(lambda: kafka.warnings)
        kafka.rest(3)
        assert kafka.told == []
        assert [one.client for one in kafka.warnings] == ["bl.example"]
        assert word in kafka.warnings[0].text
    kafka.close()


def test_zone_that_is_added_while_it_runs_is_asked_from_then_on(
    own_broker: Broker, dns_server: Rbldnsd, tmp_path: Path
) -> None:
    kafka, settings = Kafka(own_broker.address), KafkaSettings(bootstrap=own_broker.address)
    base = entries_of(POLICY.replace("RESOLVER", dns_server.address), file="policy.toml")
    without = {key: row for key, row in base.items() if not key.startswith("zones/")}

    def change(entries: Entries) -> None:
        change_policy(settings, base, lambda _: entries, who="test", what="zones")

    change(without)
    with stage_process(tmp_path, own_broker, dns_server) as stage:
        kafka.send("192.0.2.7")
        stage.wait_for(lambda facts: facts["zones"] == 0 and facts["records_waiting"] == 0)
        assert kafka.told == []
        change(base)
        stage.wait_for(lambda facts: facts["zones"] == 1)
        kafka.send("192.0.2.7")
        kafka.take(lambda: kafka.told)
        change(without)
        stage.wait_for(lambda facts: facts["zones"] == 0)
        kafka.send("192.0.2.8")
        kafka.rest(1)
        assert [event.address for event in kafka.told] == ["192.0.2.7"]
    kafka.close()
