"""Zones, look-ups, partners and senders against a real rbldnsd, and against a server that answers wrongly."""

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import dns.flags
import dns.message
import dns.rrset
import pytest
import uvloop

from streams.agents.reputation.answers import Trouble
from streams.agents.reputation.cache import Cache
from streams.agents.reputation.health import FAILURES
from streams.agents.reputation.lookups import LookUps
from streams.agents.reputation.partners import PartnerWatch
from streams.agents.reputation.resolver import open_resolver, resolver_addresses
from streams.agents.reputation.senders import SenderCheck
from streams.agents.reputation.zones import Zones
from streams.model.client import Address, Client, ClientPrefixes, parse_network
from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant
from streams.model.modules import Partner, Protocol, Reputation, Zone
from streams.model.policy import Exemption, Policy, Suspension
from streams.model.standing import PolicyIndex
from tests.rbldnsd import ENTRIES, ENTRIES_IPV6, Rbldnsd, zone_file

pytestmark = pytest.mark.needs("rbldnsd")

BL = Zone(domain="bl.example", name="BL")
SIX = Zone(domain="six.example", name="Six", ipv4=False)
START = 1_700_000_000 * MICROSECONDS
LISTED = Address("192.0.2.7")
CLEAN = Address("198.51.100.7")
FILE = zone_file(ENTRIES + "192.0.2.0/24\n203.0.113.5 :4:why\n", ttl_s=2100, absent_s=600)


@contextmanager
def server(**files: str) -> Iterator[Rbldnsd]:
    """rbldnsd with these IPv4 zones of `example`."""
    with Rbldnsd({f"{name}.example": ("ip4trie", file) for name, file in files.items()}) as running:
        yield running


Changes = list[tuple[str, str]]


async def zones_of(
    resolver: str, *zones: Zone, timeout_ms: int = 400, health_every_s: int = 1
) -> tuple[Zones, Changes]:
    """Zones that are asked there, and the list of what happens to them: (domain, trouble or `back`)."""
    changes: Changes = []

    def changed(zone: Zone, trouble: Trouble | None) -> None:
        changes.append((zone.domain, trouble.kind if trouble else "back"))

    made = Zones(changed)
    bounds = Reputation(resolvers=(resolver,), timeout_ms=timeout_ms, health_every_s=health_every_s)
    await made.follow(zones, bounds)
    return made, changes


async def until(true: Callable[[], object], timeout_s: float = 8.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "did not come about"
        await asyncio.sleep(0.01)


def run(work: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(40):
            await work

    asyncio.run(bounded())


def connect(address: str, at_s: float = 0, session: str = "mx/1") -> Event:
    client = ClientPrefixes().client_of(Address(address))
    at = Instant(START + int(at_s * MICROSECONDS))
    return Event(
        id=f"{address}/{at}", at=at, kind="connect", client=client, address=Address(address),
        session=session, host="mx",
    )  # fmt: skip


def test_listings_by_code_and_family() -> None:
    async def work() -> None:
        zones, changes = await zones_of(running.address, BL, SIX)
        assert await zones.test_all() == {"bl.example": None, "six.example": None}
        assert zones.domains_for(LISTED) == ["bl.example"]
        answer = (await zones.look(LISTED, ["bl.example"]))["bl.example"]
        assert (answer.codes, answer.ttl_s) == (("127.0.0.2",), 2100)
        answer = (await zones.look(Address("203.0.113.5"), ["bl.example"]))["bl.example"]
        assert answer.codes == ("127.0.0.4",)
        answer = (await zones.look(CLEAN, ["bl.example"]))["bl.example"]
        assert (answer.codes, answer.ttl_s) == ((), 600)
        six = Address("2001:db8::1")
        assert zones.domains_for(six) == ["bl.example", "six.example"]
        found = await zones.look(six, zones.domains_for(six))
        assert {domain: answer.codes for domain, answer in found.items()} == {
            "bl.example": (),
            "six.example": ("127.0.0.9",),
        }
        assert changes == []
        zones.close()

    six_file = zone_file(ENTRIES_IPV6 + "2001:db8::/32 :127.0.0.9:six\n")
    with Rbldnsd({"bl.example": ("ip4trie", FILE), "six.example": ("ip6trie", six_file)}) as running:
        run(work())


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (zone_file("0.0.0.0/0\n"), "wildcard"),
        (zone_file("192.0.2.0/24\n"), "untested"),
        (zone_file("0.0.0.0/0\n", code="127.255.255.254"), "refusing"),
    ],
    ids=["wildcard", "empty", "open-resolver"],
)
def test_zone_in_trouble_lists_nobody_and_is_told_once(file: str, kind: str) -> None:
    async def work() -> None:
        zones, changes = await zones_of(running.address, BL)
        for _ in range(5):
            found = await zones.look(LISTED, zones.domains_for(LISTED))
            assert not any(answer.codes for answer in found.values())
        await zones.test_all()
        assert changes == [("bl.example", kind)]
        assert zones.domains_for(LISTED) == []
        zones.close()

    with server(bl=file) as running:
        run(work())


def test_zone_that_has_had_enough_is_let_alone_at_once() -> None:
    async def work() -> None:
        zones, changes = await zones_of(running.address, BL)
        assert await zones.test_all() == {"bl.example": None}
        assert (await zones.look(LISTED, ["bl.example"]))["bl.example"].codes == ()
        assert changes == [("bl.example", "refusing")]
        zones.close()

    with server(bl=zone_file("127.0.0.2\n192.0.2.7 :127.255.255.255:\n")) as running:
        run(work())


def test_zone_that_begins_to_list_everybody_refuses_nobody() -> None:
    async def work() -> None:
        zones, changes = await zones_of(running.address, BL, health_every_s=3600)
        await zones.test_all()
        running.write("bl.example", zone_file("0.0.0.0/0\n"))
        await asyncio.sleep(6)  # rbldnsd has read it, and the last test is no longer fresh
        found = await zones.look(CLEAN, ["bl.example"])
        assert found["bl.example"].codes == ()
        assert changes == [("bl.example", "wildcard")]
        zones.close()

    with server(bl=FILE) as running:
        run(work())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_killed_zone_is_out_within_its_time_and_comes_back_by_itself(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def work() -> None:
        zones, changes = await zones_of(running.address, BL)
        tests = asyncio.create_task(zones.test_for_ever())
        await until(lambda: zones.states()[0].tested_at > 0)
        running.kill()
        started = time.monotonic()
        for n in range(FAILURES):
            await zones.look(Address(f"192.0.2.{n}"), ["bl.example"])
        assert changes == [("bl.example", "silent")]
        assert time.monotonic() - started < FAILURES * 0.4
        assert zones.domains_for(LISTED) == []
        running.start()
        await until(lambda: changes[-1] == ("bl.example", "back"))
        assert (await zones.look(LISTED, ["bl.example"]))["bl.example"].codes == ("127.0.0.2",)
        assert len(changes) == 2
        tests.cancel()
        zones.close()

    with server(bl=FILE) as running, asyncio.Runner(loop_factory=loop) as runner:
        runner.run(work())


class Wrong(threading.Thread):
    """A DNS server whose answers, any number of them, are made by a function of the query. Over TCP it
    answers with a whole listing."""

    def __init__(self, answer: Callable[[dns.message.Message], list[bytes]]) -> None:
        super().__init__(daemon=True)
        self._answer = answer
        self.asked = 0
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self._tcp = socket.create_server(self._udp.getsockname())
        self.address = f"127.0.0.1:{self._udp.getsockname()[1]}"
        threading.Thread(target=self._serve_tcp, daemon=True).start()
        self.start()

    def run(self) -> None:
        while True:
            try:
                query, peer = self._udp.recvfrom(4096)
            except OSError:
                return
            self.asked += 1
            for reply in self._answer(dns.message.from_wire(query)):
                self._udp.sendto(reply, peer)

    def _serve_tcp(self) -> None:
        while True:
            try:
                accepted, _ = self._tcp.accept()
            except OSError:
                return
            with accepted:
                reply = listing(dns.message.from_wire(accepted.recv(4096)[2:]))
                accepted.sendall(len(reply).to_bytes(2, "big") + reply)

    def close(self) -> None:
        self._udp.close()
        self._tcp.close()


def listing(query: dns.message.Message, code: str = "127.0.0.2") -> bytes:
    reply = dns.message.make_response(query)
    reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", code))
    return reply.to_wire()


def truncated(query: dns.message.Message) -> list[bytes]:
    reply = dns.message.make_response(query)
    reply.flags |= dns.flags.TC
    return [reply.to_wire()]


def other_number(query: dns.message.Message) -> list[bytes]:
    right = listing(query)
    return [bytes((right[0] ^ 1, *right[1:]))]


def other_question(query: dns.message.Message) -> list[bytes]:
    other = dns.message.make_query("9.9.9.9.bl.example", "A")
    other.id = query.id
    return [listing(other), b"", b"\0" * 12, query.to_wire()]


def servfail(query: dns.message.Message) -> list[bytes]:
    reply = dns.message.make_response(query)
    reply.set_rcode(dns.rcode.SERVFAIL)
    return [reply.to_wire()]


@pytest.mark.parametrize(
    ("answer", "codes", "kind"),
    [
        (truncated, ("127.0.0.2",), ""),
        (other_number, (), "silent"),
        (other_question, (), "silent"),
        (servfail, (), "silent"),
        (lambda _: [], (), "silent"),
        (lambda query: [listing(query, "192.0.2.80")], (), "strange"),
        (lambda query: other_number(query) + other_question(query) + [listing(query)], ("127.0.0.2",), ""),
    ],
    ids=["truncated", "other-number", "other-question", "servfail", "silence", "parked", "guesses-first"],
)
def test_wrong_answers(
    answer: Callable[[dns.message.Message], list[bytes]], codes: tuple[str, ...], kind: str
) -> None:
    async def work() -> None:
        zones, _ = await zones_of(wrong.address, Zone(domain="bl.example", test=False))
        started = time.monotonic()
        found = (await zones.look(LISTED, ["bl.example"]))["bl.example"]
        assert time.monotonic() - started < 1.0
        assert found.codes == codes
        assert (found.trouble.kind if found.trouble else "") == kind
        zones.close()

    with closing(Wrong(answer)) as wrong:
        run(work())


def test_lost_datagram_is_sent_again_and_the_next_resolver_is_asked() -> None:
    def every_second(query: dns.message.Message) -> list[bytes]:
        return [listing(query)] if lossy.asked % 2 == 0 else []

    async def work() -> None:
        zones, _ = await zones_of(lossy.address, Zone(domain="bl.example", test=False))
        assert (await zones.look(LISTED, ["bl.example"]))["bl.example"].codes
        resolver = await open_resolver((failing.address, "127.0.0.1:1", lossy.address))
        await zones.follow([Zone(domain="bl.example", test=False)], Reputation(timeout_ms=900))
        zones.resolver.close()
        zones.resolver = resolver
        lossy.asked = 1
        assert (await zones.look(LISTED, ["bl.example"]))["bl.example"].codes
        assert failing.asked == 1
        # the one that answered is asked first from then on
        lossy.asked = 1
        assert (await zones.look(LISTED, ["bl.example"]))["bl.example"].codes
        assert failing.asked == 1
        zones.close()

    with closing(Wrong(every_second)) as lossy, closing(Wrong(servfail)) as failing:
        run(work())


def test_dead_zone_holds_up_nobody_once_it_is_out() -> None:
    def one_zone_is_dead(query: dns.message.Message) -> list[bytes]:
        return [] if "dead" in query.question[0].name.to_text() else [listing(query)]

    async def work() -> None:
        dead = Zone(domain="dead.example", test=False)
        zones, changes = await zones_of(wrong.address, dead, Zone(domain="bl.example", test=False))
        told: list[Event] = []
        index = PolicyIndex(Policy(zones=(dead, BL), reputation=Reputation(concurrency=20, timeout_ms=400)))
        lookups = LookUps(zones, told.append, number=0, index=index)
        started = time.monotonic()
        for n in range(200):
            lookups.connected(connect(f"192.0.2.{n}"))
        await until(lambda: len(told) == 200)
        # one timeout, whatever the number of clients
        assert time.monotonic() - started < 1.0
        assert changes == [("dead.example", "silent")]
        zones.close()

    with closing(Wrong(one_zone_is_dead)) as wrong:
        run(work())


async def look_ups(
    resolver: str, policy: Policy, *, cache: Cache | None = None, waiting: int = 20_000
) -> tuple[LookUps, Zones, list[Event]]:
    zones, _ = await zones_of(resolver, *policy.zones, timeout_ms=2000)
    await zones.test_all()
    told: list[Event] = []
    index = PolicyIndex(policy)
    lookups = LookUps(zones, told.append, number=1, index=index, cache=cache, waiting=waiting)
    return lookups, zones, told


async def settled(lookups: LookUps, timeout_s: float = 20) -> None:
    await until(lambda: not lookups.waiting and not lookups.under_way, timeout_s)


def test_listing_is_told_once_while_it_holds_and_again_when_it_ends() -> None:
    async def work() -> None:
        lookups, zones, told = await look_ups(running.address, Policy(zones=(BL,)))
        for n in range(1000):
            lookups.connected(connect(LISTED, n / 1000))
        lookups.connected(connect(CLEAN))
        await settled(lookups)
        assert [(event.address, event.detail, event.ttl_s, event.at) for event in told] == [
            (LISTED, "bl.example 127.0.0.2", 2100, START)
        ]
        event = told[0]
        assert (event.kind, event.service, event.session, event.client, event.host) == (
            "reputation", "reputation", "mx/1", Client(LISTED), "mx",
        )  # fmt: skip
        lookups.connected(connect(LISTED, 2099))
        lookups.connected(connect(LISTED, 2101))
        assert [event.at for event in told[1:]] == [START + 2101 * MICROSECONDS]
        assert len(running.queries) == 2 + 2  # the zone's test, and one look-up of each
        zones.close()

    with server(bl=FILE) as running:
        run(work())


def test_answers_hold_for_their_ttl_and_the_end_of_a_listing_is_told() -> None:
    async def work() -> None:
        policy = Policy(zones=(BL,), reputation=Reputation(ttl_min_s=1, resolvers=(running.address,)))
        lookups, zones, told = await look_ups(running.address, policy)
        await zones.follow(policy.zones, policy.reputation)
        lookups.connected(connect(LISTED))
        lookups.connected(connect(CLEAN))
        await settled(lookups)
        assert [event.detail for event in told] == ["bl.example 127.0.0.2"]
        assert told[0].ttl_s == 2
        running.write("bl.example", zone_file(ENTRIES, absent_s=2))
        lookups.connected(connect(LISTED, 1))
        assert (lookups.counts.looked_up, lookups.counts.cached) == (2, 1)
        await asyncio.sleep(2.5)
        lookups.connected(connect(LISTED, 3))
        lookups.connected(connect(CLEAN, 3))
        await settled(lookups)
        assert [event.detail for event in told] == ["bl.example 127.0.0.2", ""]
        assert told[1].address == LISTED
        zones.close()

    with server(bl=zone_file(ENTRIES + "192.0.2.0/24\n", ttl_s=2, absent_s=2)) as running:
        run(work())


def test_clean_verdicts_are_told_where_the_shim_waits_even_with_every_zone_out() -> None:
    async def work() -> None:
        policy = Policy(zones=(BL,), reputation=Reputation(wait_ms=500))
        lookups, zones, told = await look_ups(running.address, policy)
        lookups.connected(connect(CLEAN))
        await settled(lookups)
        assert [(event.detail, event.ttl_s) for event in told] == [("", 600)]
        running.write("bl.example", zone_file("0.0.0.0/0\n"))
        await asyncio.sleep(2)
        await zones.test_all()
        assert zones.domains_for(CLEAN) == []
        lookups.connected(connect("198.51.100.8"))
        await settled(lookups)
        assert [(event.address, event.detail) for event in told[1:]] == [("198.51.100.8", "")]
        zones.close()

    with server(bl=FILE) as running:
        run(work())


def test_who_is_let_alone() -> None:
    async def work() -> None:
        exempt = Exemption(
            module="dnsbl", network=parse_network("192.0.2.0/28"), expires=Instant(START + 60 * MICROSECONDS)
        )
        policy = Policy(zones=(BL,), exemptions=(exempt,))
        lookups, zones, told = await look_ups(running.address, policy)
        for address in (LISTED, "192.168.1.9"):
            lookups.connected(connect(address))
        assert (lookups.waiting, lookups.under_way, lookups.counts.left_alone) == (0, 0, 2)
        lookups.connected(connect(LISTED, 60))
        await settled(lookups)
        assert [event.address for event in told] == [LISTED]
        suspended = Suspension(module="dnsbl", until=Instant(START + 100 * MICROSECONDS))
        lookups.follow(2, PolicyIndex(Policy(zones=(BL,), suspensions=(suspended,))))
        lookups.connected(connect(LISTED, 99))
        assert len(told) == 1
        # another policy: what is known is told once more, since it may weigh otherwise
        lookups.connected(connect(LISTED, 100))
        lookups.connected(connect(LISTED, 101))
        assert len(told) == 2
        lookups.undelivered(told[-1])
        lookups.connected(connect(LISTED, 102))
        assert len(told) == 3
        lookups.forget(Client(LISTED))
        lookups.connected(connect(LISTED, 103))
        await settled(lookups)
        assert (len(told), lookups.counts.looked_up) == (4, 2)
        zones.close()

    with server(bl=FILE) as running:
        run(work())


def test_zones_change_while_it_runs() -> None:
    async def work() -> None:
        other = Zone(domain="other.example")
        lookups, zones, told = await look_ups(running.address, Policy(zones=(BL,)))
        lookups.connected(connect(LISTED))
        await settled(lookups)
        policy = Policy(zones=(BL, other), reputation=Reputation(resolvers=(running.address,)))
        await zones.follow(policy.zones, policy.reputation)
        lookups.follow(2, PolicyIndex(policy))
        lookups.connected(connect(LISTED, 1))
        await settled(lookups)
        assert told[-1].detail == "bl.example 127.0.0.2; other.example 127.0.0.3"
        await zones.follow([other], policy.reputation)
        lookups.follow(3, PolicyIndex(Policy(zones=(other,))))
        lookups.connected(connect(LISTED, 2))
        await settled(lookups)
        assert told[-1].detail == "other.example 127.0.0.3"
        assert [health.zone for health in zones.states()] == [other]
        zones.close()

    other_file = zone_file(ENTRIES + "192.0.2.7\n", code="127.0.0.3")
    with server(bl=FILE, other=other_file) as running:
        run(work())


def test_flood_of_clients_is_bounded() -> None:
    async def work() -> None:
        lookups, zones, told = await look_ups(
            running.address, Policy(zones=(BL,)), cache=Cache(addresses=1000), waiting=5000
        )
        for n in range(10_000):
            lookups.connected(connect(f"10.1.{n >> 8}.{n & 255}"))
        assert (lookups.under_way, lookups.waiting) == (200, 5000)
        assert lookups.counts.dropped == 10_000 - 200 - 5000
        lookups.connected(connect(LISTED))  # the newest is not the one that is left out
        await settled(lookups)
        assert [event.address for event in told] == [LISTED]
        assert lookups.counts.looked_up == 5200
        assert len(lookups.cache) == 1000
        zones.close()

    with server(bl=FILE) as running:
        run(work())


def test_one_client_in_ipv6_is_one_look_up_at_a_time() -> None:
    async def work() -> None:
        zone = Zone(domain="bl.example", test=False)
        lookups, zones, _ = await look_ups(silent.address, Policy(zones=(zone,)))
        asked = silent.asked
        for n in range(1, 1000):
            lookups.connected(connect(f"2001:db8::{n:x}"))
        assert (lookups.under_way, lookups.waiting) == (1, 0)
        assert silent.asked - asked <= 1
        zones.close()

    with closing(Wrong(lambda _: [])) as silent:
        run(work())


def test_partner_is_told_when_listed_and_when_cleared_and_not_again(tmp_path: Path) -> None:
    async def work() -> None:
        zones, _ = await zones_of(running.address, BL)
        partner = Partner(address=LISTED, name="ACME")
        said: list[tuple[str, list[str], list[str]]] = []

        def tell(who: Partner, listed: list[Zone], cleared: list[Zone]) -> None:
            said.append((who.name, [one.name for one in listed], [one.name for one in cleared]))

        index = PolicyIndex(Policy(zones=(BL,), partners=(partner, Partner(address=CLEAN))))

        def watch() -> PartnerWatch:
            return PartnerWatch(zones, tell, index=index, is_mine=lambda _: True, folder=tmp_path)

        one = watch()
        await one.look(0.0)
        await one.look(10.0)  # not due
        await one.look(3600.0)
        assert (said, one.listed) == ([("ACME", ["BL"], [])], 1)
        await watch().look(0.0)  # a restart
        assert len(said) == 1
        running.write("bl.example", zone_file(ENTRIES))
        await asyncio.sleep(2)
        await watch().look(0.0)
        assert said[1:] == [("ACME", [], ["BL"])]
        running.kill()
        await watch().look(0.0)
        others = PartnerWatch(zones, tell, index=index, is_mine=lambda _: False)
        await others.look(0.0)
        assert len(said) == 2
        zones.close()

    with server(bl=FILE) as running:
        run(work())


def test_senders_whose_domain_does_not_exist() -> None:
    records = (
        "$SOA 60 ns.example admin.example 1 1 1 1 60\n@ A 192.0.2.1\nmx MX 10 mail.example\n"
        "a-only A 192.0.2.2\ntext TXT hello\n"
    )

    async def work() -> None:
        zones, _ = await zones_of(running.address)
        told: list[Event] = []
        policy = Policy(protocol=Protocol(invalid_sender=True))
        senders = SenderCheck(zones, told.append, index=PolicyIndex(policy))

        def message(sender: str, n: int = 0, address: str = LISTED) -> Event:
            return Event(
                id=f"{sender}{n}", at=Instant(START), kind="message", client=Client(address),
                address=Address(address), session="mx/1", host="mx", sender=sender,
            )  # fmt: skip

        for sender in (
            "ada@gone.mail.example", "ada@mx.mail.example", "ada@a-only.mail.example",
            "ada@text.mail.example", "ada@refused.example", "", "ada@nodot",
        ):  # fmt: skip
            senders.sent(message(sender))
        senders.sent(message("bob@gone.mail.example"))
        senders.sent(message("ada@gone.mail.example", 1, "192.168.1.1"))
        await until(lambda: not senders.waiting)
        assert sorted((event.detail, event.violation, event.kind) for event in told) == [
            ("gone.mail.example", "invalid sender", "violation"),
            ("gone.mail.example", "invalid sender", "violation"),
            ("text.mail.example", "invalid sender", "violation"),
        ]
        assert (told[0].session, told[0].service, told[0].client) == ("mx/1", "reputation", Client(LISTED))
        looked_up = senders.looked_up
        senders.sent(message("ada@gone.mail.example", 2))
        assert (len(told), senders.looked_up) == (4, looked_up)
        senders.follow(PolicyIndex(Policy()))
        senders.sent(message("ada@gone.mail.example", 3))
        assert len(told) == 4
        zones.close()

    with Rbldnsd({"mail.example": ("generic", records)}) as running:
        run(work())


def test_null_mx_is_no_domain_for_mail() -> None:
    def null_mx(query: dns.message.Message) -> list[bytes]:
        reply = dns.message.make_response(query)
        reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "MX", "0 ."))
        return [reply.to_wire()]

    async def work() -> None:
        zones, _ = await zones_of(wrong.address)
        told: list[Event] = []
        index = PolicyIndex(Policy(protocol=Protocol(invalid_sender=True)))
        senders = SenderCheck(zones, told.append, index=index)
        refused = Event(
            id="r", at=Instant(START), kind="rcpt", client=Client(LISTED), address=LISTED, session="mx/1",
            host="mx", sender="ada@null.example", code=554,
        )  # fmt: skip
        senders.sent(refused)
        await until(lambda: told)
        assert told[0].detail == "null.example"
        zones.close()

    with closing(Wrong(null_mx)) as wrong:
        run(work())


def test_resolvers_as_people_write_them() -> None:
    texts = ("192.0.2.1", "192.0.2.1:5353", "::1", "[::1]", "[2001:db8::1]:54", "dns.example:53")
    assert resolver_addresses(texts) == [
        ("192.0.2.1", 53),
        ("192.0.2.1", 5353),
        ("::1", 53),
        ("::1", 53),
        ("2001:db8::1", 54),
        ("dns.example", 53),
    ]
