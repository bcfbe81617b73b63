"""Ports, resolvers, and what is said when things go wrong around them."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import dns.flags
import dns.message
import pytest
import uvloop

from streams.agents.reputation import outbox as outbox_module
from streams.agents.reputation import sockets
from streams.agents.reputation.answers import NoAnswerError
from streams.agents.reputation.messages import A, answers, question
from streams.agents.reputation.outbox import Outbox
from streams.agents.reputation.partners import PartnerWatch, Remembered
from streams.agents.reputation.resolver import Resolver, open_resolver
from streams.agents.reputation.sockets import Ports
from streams.agents.reputation.zones import Zones
from streams.config import KafkaSettings
from streams.model.client import Address, Client
from streams.model.event import Event
from streams.model.instant import Instant
from streams.model.modules import Partner
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex

ASKED = question("2.0.0.127.bl.example", A)


class Source(asyncio.DatagramProtocol):
    """Answers every query; keeps the ports and numbers they came with."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.numbers: list[int] = []
        self.flags = dns.flags.Flag(0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self.ports.append(addr[1])
        self.numbers.append(query.id)
        reply = dns.message.make_response(query)
        reply.flags |= self.flags
        self._transport.sendto(reply.to_wire(), addr)


async def source() -> tuple[Source, tuple[str, int], asyncio.DatagramTransport]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Source, local_addr=("127.0.0.1", 0))
    host, port = transport.get_extra_info("sockname")
    return protocol, (host, port), transport


def test_ports_and_numbers_vary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "QUESTIONS", 20)

    async def work() -> None:
        server, address, transport = await source()
        resolver = Resolver([address])
        for _ in range(20):
            await asyncio.gather(*(resolver.ask(ASKED, 2.0) for _ in range(20)))
        assert len(set(server.numbers)) > 350  # of 400: chance repeats one now and then
        assert len(set(server.ports)) >= 400 // 20
        assert resolver.mismatched == 0
        resolver.close()
        transport.close()

    asyncio.run(work())


def test_nothing_is_kept_of_questions_that_ended() -> None:
    async def work() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind(("127.0.0.1", 0))
            resolver = Resolver([deaf.getsockname()])
            asked = [resolver.ask(ASKED, 0.2) for _ in range(100)]
            found = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(one, NoAnswerError) for one in found)
            (ports,) = resolver._ports
            assert all(not one.asked for one in ports._open if one)
            resolver.close()

    asyncio.run(work())


def test_answer_that_came_in_time_counts_however_busy_we_were() -> None:
    async def work() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as slow:
            slow.bind(("127.0.0.1", 0))
            resolver = Resolver([slow.getsockname()])
            asked = [resolver.ask(ASKED, 0.1) for _ in range(10)]
            for _ in asked:
                query, peer = slow.recvfrom(4096)
                slow.sendto(dns.message.make_response(dns.message.from_wire(query)).to_wire(), peer)
            time.sleep(0.3)  # noqa: ASYNC251
            assert all(answers(reply, ASKED) for reply in await asyncio.gather(*asked))
            resolver.close()

    # a loop that looked at its timers before its sockets would fail here
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_resolver_is_not_blamed_when_the_machine_stood_still(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def work() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as slow:
            slow.bind(("127.0.0.1", 0))

            def answer_late() -> None:
                time.sleep(1.3)
                query, peer = slow.recvfrom(4096)
                slow.sendto(dns.message.make_response(dns.message.from_wire(query)).to_wire(), peer)

            resolver = Resolver([slow.getsockname()])
            late = threading.Thread(target=answer_late)
            late.start()
            asked = resolver.ask(ASKED, 1.0)
            time.sleep(1.25)  # noqa: ASYNC251
            assert answers(await asked, ASKED)
            # that nobody answers is still found out
            late.join()
            asked, started = resolver.ask(ASKED, 0.2), time.monotonic()
            time.sleep(0.5)  # noqa: ASYNC251
            with pytest.raises(NoAnswerError):
                await asked
            assert time.monotonic() - started < 1.0
            resolver.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(work())


@pytest.mark.parametrize("server", [("127.0.0.1", 1), ("192.0.2.1", 0), ("::1", 1)])
def test_resolver_that_cannot_be_reached_is_said_at_once(server: tuple[str, int]) -> None:
    async def work() -> None:
        resolver, started = Resolver([server]), time.monotonic()
        with pytest.raises(NoAnswerError):
            await resolver.ask(ASKED, 5.0)
        assert time.monotonic() - started < 1.0
        resolver.close()

    asyncio.run(work())


def test_cut_answer_without_tcp_is_no_answer() -> None:
    async def work() -> None:
        server, address, transport = await source()
        server.flags = dns.flags.TC
        resolver = Resolver([address])
        with pytest.raises(NoAnswerError, match="TCP"):
            await resolver.ask(ASKED, 2.0)
        resolver.close()
        transport.close()

    asyncio.run(work())


def test_resolvers_by_name_and_none(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        _, (_, port), transport = await source()
        resolver = await open_resolver((f"localhost:{port}", "no-such-host.invalid:53"))
        if resolver.shown == f"127.0.0.1:{port}":
            assert answers(await resolver.ask(ASKED, 2.0), ASKED)
        assert "no-such-host.invalid" in caplog.text
        resolver.close()
        with pytest.raises(NoAnswerError, match="no resolver"):
            await (await open_resolver(("[:53",))).ask(ASKED, 1.0)
        transport.close()

    asyncio.run(work())


def test_closed_ports_are_closed_for_good() -> None:
    async def work() -> None:
        server, address, transport = await source()
        ports = Ports(address)
        ports.ask(ASKED, lambda _: None)
        ports.close()
        ports.close()
        await asyncio.sleep(0.05)
        assert len(server.ports) <= 1
        transport.close()

    asyncio.run(work())


def test_partner_file_that_cannot_be_read_or_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "partners.json").write_text('["not", "a", "table"]')
    assert Remembered(tmp_path).listed == {}
    assert "cannot be read" in caplog.text
    (tmp_path / "file").write_text("")
    hindered = Remembered(tmp_path / "file" / "folder")
    hindered.keep()
    assert "cannot be written" in caplog.text


def test_partners_come_and_go_with_the_policy() -> None:
    async def work() -> None:
        zones = Zones(lambda *_: None)
        one, two = (Partner(address=Address(f"192.0.2.{n}")) for n in (1, 2))
        file = Policy(partners=(one,))
        watch = PartnerWatch(zones, lambda *_: None, index=PolicyIndex(file), is_mine=lambda _: True)
        await watch.look(0.0)
        watch.follow(PolicyIndex(Policy(partners=(two,))))
        await watch.look(0.0)
        assert list(watch._due) == [two.address]
        assert watch.listed == 0

    asyncio.run(work())


def test_what_kafka_does_not_take_is_told_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox_module, "_EXPIRE_MS", 1000)

    async def work() -> None:
        lost: list[Event] = []
        box = Outbox(KafkaSettings(bootstrap="127.0.0.1:1"), 4, lost.append)
        polls = asyncio.create_task(box.poll_for_ever())
        address = Address("192.0.2.1")
        events = [
            Event(
                id=str(n), at=Instant(n), kind="reputation", client=Client(address), address=address,
                session="", host="mx",
            )
            for n in range(600)
        ]  # fmt: skip
        for event in events:
            box.event(event)
        deadline = time.monotonic() + 15
        while len(lost) < 600 and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert sorted(lost, key=lambda one: one.at) == events
        assert box.lost == 600
        assert caplog.text.count("not delivered") == 1
        polls.cancel()

    with caplog.at_level(logging.ERROR):
        asyncio.run(work())
