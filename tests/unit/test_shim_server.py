"""The real server on real sockets, without Kafka: order, bounds, garbage, slow peers, a clean stop."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from streams.model.client import parse_network
from streams.model.policy import Block, Policy
from streams.model.standing import PolicyIndex
from streams.shim.answers import Answers
from streams.shim.listen import open_listener, parse_listen
from streams.shim.server import PolicyServer, Service
from streams.shim.table import DecisionTable
from tests.shim_process import ShimProcess, ask, asked, read_answers

POLICY = '[[blocks]]\naddress = "198.51.100.0/24"\nnote = "spam"\n'
REFUSED = "551 5.7.1 Go away: blocked by administrator: spam"


@pytest.fixture(scope="module", params=["inet", "unix"])
def shim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShimProcess]:
    folder = tmp_path_factory.mktemp("shim")
    listen = "inet:127.0.0.1:0" if request.param == "inet" else f"unix:{folder}/policy"
    with ShimProcess(folder, listen, policy=POLICY) as running:
        yield running


def test_one_connection_carries_many_requests(shim: ShimProcess) -> None:
    with shim.connect() as peer:
        for _ in range(100):
            assert ask(peer, "198.51.100.7") == REFUSED
            assert ask(peer, "192.0.2.1", "RCPT") == "DUNNO"


def test_pipelined_requests_are_answered_in_order(shim: ShimProcess) -> None:
    addresses = ["198.51.100.7" if number % 3 == 0 else "192.0.2.1" for number in range(600)]
    with shim.connect() as peer:
        peer.sendall(b"".join(map(asked, addresses)))
        answers = read_answers(peer, len(addresses))
    assert answers == [REFUSED if it.startswith("198") else "DUNNO" for it in addresses]


def test_a_request_may_come_byte_by_byte(shim: ShimProcess) -> None:
    with shim.connect() as peer:
        for byte in asked("198.51.100.7"):
            peer.sendall(bytes([byte]))
        assert read_answers(peer, 1) == [REFUSED]


@pytest.mark.parametrize(
    "garbage", [b"\n", b"junk\n", b"\x16\x03\x01\n", b"x" * 9000, b"a=\n" * 600, b"a=" + b"\0" * 9 + b"\n"]
)
def test_garbage_ends_the_connection_after_what_came_before_it(shim: ShimProcess, garbage: bytes) -> None:
    with shim.connect() as peer:
        peer.sendall(asked("198.51.100.7") + garbage)
        assert read_answers(peer, 2) == [REFUSED]
    with shim.connect() as peer:
        assert ask(peer, "192.0.2.1") == "DUNNO"


def test_a_peer_that_does_not_read_is_not_read_from_and_loses_nothing(shim: ShimProcess) -> None:
    request, sent = asked("198.51.100.7") * 100, 0
    with shim.connect() as peer:
        peer.settimeout(1.0)
        with pytest.raises(TimeoutError):
            while sent < 400_000:
                peer.sendall(request)
                sent += 100
        assert sent < 400_000, "the shim read on and on"
        with shim.connect() as other:
            assert ask(other, "192.0.2.1") == "DUNNO"
        peer.settimeout(30.0)
        answers = read_answers(peer, sent)
        assert len(answers) >= sent
        assert set(answers) == {REFUSED}


def test_counts_go_into_the_status_file(tmp_path: Path) -> None:
    with ShimProcess(tmp_path, "inet:127.0.0.1:0", policy=POLICY) as shim:
        with shim.connect() as peer:
            ask(peer, "198.51.100.7")
            ask(peer, "192.0.2.1")
            shim.wait_for("connections", 1)
            peer.sendall(b"junk\n")
            assert read_answers(peer, 1) == []
        shim.wait_for("faults", 1)
        facts = shim.facts()
        assert facts["requests"] == 2
        assert facts["refused"] == 1
        assert facts["caught_up"] is False
        assert str(facts["listening"]).startswith("inet:127.0.0.1:")
        shim.wait_for("kafka", "away")
        log = shim.log.read_text()
        assert f"refused 198.51.100.7 at CONNECT: {REFUSED} (blocks, until the entry is removed)" in log
        assert "connection dropped: a line that is not name=value" in log
        assert log.count("decisions known, until they expire") == 1


def test_connections_beyond_the_cap_are_closed_and_the_others_are_served(tmp_path: Path) -> None:
    with ShimProcess(tmp_path, "inet:127.0.0.1:0", max_connections=3) as shim, ExitStack() as stack:
        peers = [stack.enter_context(shim.connect()) for _ in range(3)]
        for peer in peers:
            assert ask(peer, "192.0.2.1") == "DUNNO"
        with shim.connect() as fourth, suppress(ConnectionResetError):
            assert fourth.recv(1) == b""
        assert ask(peers[0], "192.0.2.1") == "DUNNO"
        peers[2].close()
        shim.wait_for("connections", 2)
        with shim.connect() as again:
            assert ask(again, "192.0.2.1") == "DUNNO"


def test_sigterm_closes_what_is_open_and_exits_0(tmp_path: Path) -> None:
    with ShimProcess(tmp_path, f"unix:{tmp_path}/policy") as shim, shim.connect() as peer:
        assert ask(peer, "192.0.2.1") == "DUNNO"
        peer.sendall(b"request=smtpd_access_policy\n")
        assert shim.terminate() == 0
        assert peer.recv(1) == b""
        assert not (tmp_path / "policy").exists()
        assert "stopped: 1 requests answered" in shim.log.read_text()


def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    async def run() -> None:
        service = Service(Answers(PolicyIndex(Policy()), DecisionTable()))
        listeners = open_listener(parse_listen("inet:127.0.0.1:0"), socket_mode=0o600, allow_remote=False)
        where = listeners[0].getsockname()
        server = PolicyServer(service, listeners, idle_s=0.3)
        await server.start()
        idle, busy = [await asyncio.open_connection(*where) for _ in range(2)]
        started = time.monotonic()
        while not idle[0].at_eof() and time.monotonic() < started + 10:
            busy[1].write(asked("192.0.2.1"))
            assert await busy[0].readuntil(b"\n\n") == b"action=DUNNO\n\n"
            server.tend()
            await asyncio.sleep(0.05)
            try:
                async with asyncio.timeout(0.01):
                    await idle[0].read(1)
            except (TimeoutError, ConnectionResetError):
                continue
        assert time.monotonic() - started >= 0.3
        assert len(service.open) == 1
        await server.stop()
        assert not service.open

    asyncio.run(run())


def test_a_port_in_use_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match="cannot listen on"):
            ShimProcess(tmp_path, f"inet:127.0.0.1:{port}").__enter__()


def test_the_first_acceptance_after_a_refusal_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    block = Block(network=parse_network("198.51.100.7"), note="spam")

    async def run() -> None:
        service = Service(Answers(PolicyIndex(Policy(blocks=(block,))), DecisionTable()))
        listeners = open_listener(parse_listen("inet:127.0.0.1:0"), socket_mode=0o600, allow_remote=False)
        server = PolicyServer(service, listeners)
        await server.start()
        reader, writer = await asyncio.open_connection(*listeners[0].getsockname())
        for address in ("198.51.100.7", "192.0.2.1"):
            writer.write(asked(address))
            await reader.readuntil(b"\n\n")
        service.answers.use(PolicyIndex(Policy()))
        for _ in range(3):
            writer.write(asked("198.51.100.7"))
            assert await reader.readuntil(b"\n\n") == b"action=DUNNO\n\n"
        writer.close()
        await server.stop()

    with caplog.at_level("INFO"):
        asyncio.run(run())
    accepted = [line for line in caplog.messages if line.startswith("Connection accepted")]
    assert accepted == ["Connection accepted: 198.51.100.7, which was refused before"]
