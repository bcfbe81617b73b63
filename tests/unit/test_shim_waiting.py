"""The bounded wait on real sockets: who waits, who does not, and that nobody else is held up."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
from msgspec.structs import replace

from streams.model.client import Client, parse_network
from streams.model.modules import Greylist, Reputation, Zone
from streams.model.policy import Exemption, Policy
from streams.model.standing import PolicyIndex
from streams.shim.answers import Answers
from streams.shim.greylist import GreylistMemory
from streams.shim.known import Known, judged
from streams.shim.listen import open_listener, parse_listen
from streams.shim.run import wall_clock
from streams.shim.server import PolicyServer, Service
from streams.shim.table import DecisionTable
from streams.shim.waiting import MAX_WAITED, WAITED_S, Waiting
from tests.policy_cases import NOW, decision
from tests.shim_process import asked

CLIENT = "192.0.2.1"
POLICY = Policy(reputation=Reputation(wait_ms=2000), zones=(Zone(domain="zen.example.org"),))
SHORT = replace(POLICY, reputation=Reputation(wait_ms=150))
REFUSED = b"action=571 5.7.1 Go away: listed\n\n"
DUNNO = b"action=DUNNO\n\n"


@dataclass
class _Shim:
    """The real service on a real socket, told decisions as the follower's thread tells them."""

    policy: Policy
    capacity: int = 500
    connected: bool = True
    table: DecisionTable = field(default_factory=DecisionTable)

    async def __aenter__(self) -> "_Shim":
        index = PolicyIndex(self.policy)
        self.waiting = Waiting(partial(judged, self.table), lambda: self.connected, capacity=self.capacity)
        self.waiting.use(index)
        greylist = GreylistMemory(self.policy.greylist)
        self.known = Known(self.table, greylist, self.waiting)
        self.service = Service(Answers(index, self.table, greylist), waiting=self.waiting)
        listeners = open_listener(parse_listen("inet:127.0.0.1:0"), socket_mode=0o600, allow_remote=False)
        self.where = listeners[0].getsockname()
        self.server = PolicyServer(self.service, listeners)
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()

    def tell(
        self,
        client: str = CLIENT,
        *,
        action: str = "block",
        trigger: str = "reputation",
        rule: str = "zen.example.org",
        for_s: float = 60,
    ) -> None:
        """Take a decision in, in another thread."""
        now = wall_clock()
        made = replace(
            decision("rate", client, now, now + int(for_s * 1e6), "listed"),
            action=action,
            trigger=trigger,
            rule=rule,
        )
        thread = threading.Thread(target=self.known.take, args=(made, now))
        thread.start()
        thread.join()

    async def ask(self, address: str = CLIENT, stage: str = "RCPT", **attributes: str) -> tuple[bytes, float]:
        """One answer, and how many seconds it took."""
        reader, writer = await asyncio.open_connection(*self.where)
        started = time.monotonic()
        writer.write(asked(address, stage, **attributes))
        answer = await reader.readuntil(b"\n\n")
        writer.close()
        return answer, time.monotonic() - started

    async def until_waiting(self, count: int = 1) -> None:
        while self.waiting.started < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def _run(policy: Policy, test: Callable[[_Shim], Awaitable[None]], **changes: object) -> None:
    async def run() -> None:
        async with _Shim(policy, **changes) as shim:  # type: ignore[arg-type]
            await asyncio.wait_for(test(shim), 20)

    asyncio.run(run())


@pytest.mark.parametrize(("action", "answer"), [("block", REFUSED), ("pass", DUNNO)])
def test_the_answer_comes_with_the_verdict(action: str, answer: bytes) -> None:
    async def test(shim: _Shim) -> None:
        waiting = asyncio.create_task(shim.ask())
        await shim.until_waiting()
        assert (await shim.ask("198.51.100.1", "MAIL"))[0] == DUNNO
        assert not waiting.done()
        shim.tell(action=action)
        got, took = await waiting
        assert got == answer
        assert took < 1.5
        assert (await shim.ask())[0] == answer
        assert shim.waiting.started == 1, "whose verdict is known is not waited for"

    _run(POLICY, test)


def test_who_is_forgotten_is_waited_for_afresh() -> None:
    async def test(shim: _Shim) -> None:
        shim.tell(action="pass")
        assert (await shim.ask())[0] == DUNNO
        shim.tell(action="release", rule="forgotten", for_s=0)
        waiting = asyncio.create_task(shim.ask())
        await shim.until_waiting()
        shim.tell(action="release", rule="forgotten", for_s=0)
        await asyncio.sleep(0.05)
        assert not waiting.done(), "that is no verdict"
        shim.tell()
        assert (await waiting)[0] == REFUSED

    _run(POLICY, test)


def test_without_a_verdict_the_wait_ends_and_is_not_repeated() -> None:
    async def test(shim: _Shim) -> None:
        got, took = await shim.ask()
        assert got == DUNNO
        assert took >= 0.15
        assert (await shim.ask())[1] < 0.1
        assert shim.waiting.started == 1
        assert not shim.waiting._waits

    _run(SHORT, test)


def test_requests_behind_one_that_waits_are_answered_in_order() -> None:
    async def test(shim: _Shim) -> None:
        reader, writer = await asyncio.open_connection(*shim.where)
        shim.tell("198.51.100.1", trigger="protocol")
        writer.write(asked("198.51.100.1", "RCPT") + asked(CLIENT, "RCPT") + asked("198.51.100.1", "RCPT"))
        assert await reader.readuntil(b"\n\n") == REFUSED
        await shim.until_waiting()
        writer.write(asked("192.0.2.9", "MAIL") + asked("198.51.100.1", "RCPT") + b"junk\n")
        await asyncio.sleep(0.05)
        shim.tell(action="pass")
        assert await reader.read() == DUNNO + REFUSED + DUNNO + REFUSED

    _run(POLICY, test)


def test_two_that_wait_on_one_connection_wait_one_after_the_other() -> None:
    async def test(shim: _Shim) -> None:
        reader, writer = await asyncio.open_connection(*shim.where)
        writer.write(asked(CLIENT, "RCPT") + asked("192.0.2.2", "RCPT"))
        started = time.monotonic()
        assert await reader.readexactly(2 * len(DUNNO)) == 2 * DUNNO
        assert time.monotonic() - started >= 0.3
        writer.close()

    _run(SHORT, test)


def test_a_connection_that_waits_is_not_read_from() -> None:
    async def test(shim: _Shim) -> None:
        _, writer = await asyncio.open_connection(*shim.where)
        writer.write(asked(CLIENT, "RCPT") + asked("192.0.2.2", "RCPT"))
        await shim.until_waiting(2)
        writer.write(asked("192.0.2.3", "MAIL") * 100_000)
        await asyncio.sleep(0.1)
        (connection,) = shim.service.open
        assert len(connection._behind) < 20_000
        writer.transport.abort()

    _run(replace(SHORT, reputation=Reputation(wait_ms=500)), test)


def test_many_connections_of_one_client_are_woken_together() -> None:
    async def test(shim: _Shim) -> None:
        waiting = [asyncio.create_task(shim.ask()) for _ in range(20)]
        await shim.until_waiting(20)
        shim.tell()
        assert {answer for answer, _ in await asyncio.gather(*waiting)} == {REFUSED}

    _run(POLICY, test)


@pytest.mark.parametrize(
    "policy",
    [
        replace(POLICY, reputation=Reputation()),
        replace(POLICY, zones=()),
        replace(POLICY, zones=(Zone(domain="zen.example.org", enabled=False),)),
        replace(POLICY, shadow=("reputation",)),
        replace(POLICY, exemptions=(Exemption(module="dnsbl", network=parse_network(CLIENT)),)),
    ],
)
def test_nobody_waits_where_nothing_can_come_of_it(policy: Policy) -> None:
    async def test(shim: _Shim) -> None:
        assert (await shim.ask())[1] < 1
        assert shim.waiting.started == 0

    _run(policy, test)


def test_nobody_waits_while_kafka_is_away_or_at_another_stage() -> None:
    async def test(shim: _Shim) -> None:
        await shim.ask(stage="MAIL")
        shim.connected = False
        assert (await shim.ask())[1] < 1
        assert shim.waiting.started == 0

    _run(POLICY, test)


def test_beyond_the_cap_the_answer_comes_at_once() -> None:
    async def test(shim: _Shim) -> None:
        waiting = [asyncio.create_task(shim.ask(f"192.0.2.{number}")) for number in range(3)]
        await shim.until_waiting(3)
        assert (await shim.ask("192.0.2.4"))[1] < 0.5
        waiting[0].cancel()
        for number in range(3):
            shim.tell(f"192.0.2.{number}")
        assert [answer for answer, _ in await asyncio.gather(*waiting[1:])] == [REFUSED] * 2
        assert shim.waiting._count == 0

    _run(POLICY, test, capacity=3)


def test_a_peer_that_goes_away_while_it_waits_leaves_nothing_behind() -> None:
    async def test(shim: _Shim) -> None:
        _, writer = await asyncio.open_connection(*shim.where)
        writer.write(asked(CLIENT, "RCPT"))
        await shim.until_waiting()
        writer.transport.abort()
        await asyncio.sleep(0.4)
        assert shim.waiting._count == 0
        assert not shim.service.open
        assert (await shim.ask("192.0.2.2"))[0] == DUNNO

    _run(SHORT, test)


def test_greylisting_comes_after_the_wait() -> None:
    async def test(shim: _Shim) -> None:
        mail = {"sender": "a@example.org", "recipient": "b@example.com"}
        waiting = asyncio.create_task(shim.ask(**mail))
        await shim.until_waiting()
        assert shim.known.greylist.triplets == 0
        shim.tell()
        assert (await waiting)[0] == REFUSED
        assert shim.known.greylist.triplets == 0
        waiting = asyncio.create_task(shim.ask("198.51.100.1", **mail))
        await shim.until_waiting(2)
        shim.tell("198.51.100.1", action="pass")
        assert (await waiting)[0].startswith(b"action=451 4.7.1 Go away: greylisted")

    _run(replace(POLICY, greylist=Greylist(enabled=True)), test)


def test_a_verdict_that_ends_as_it_comes_does_not_make_anybody_wait_again() -> None:
    async def test(shim: _Shim) -> None:
        waiting = asyncio.create_task(shim.ask())
        await shim.until_waiting()
        shim.tell(for_s=0)
        answer, took = await waiting
        assert answer == DUNNO
        assert took < 1.5

    _run(POLICY, test)


def test_a_stop_answers_those_who_wait() -> None:
    async def test(shim: _Shim) -> None:
        waiting = asyncio.create_task(shim.ask())
        await shim.until_waiting()
        await shim.server.stop()
        answer, took = await waiting
        assert answer == DUNNO
        assert took < 1.5

    _run(POLICY, test)


def test_a_verdict_between_the_look_and_the_wait_is_not_missed() -> None:
    looks: list[bool] = []

    def late(client: Client, now: int) -> bool:
        looks.append(True)
        return len(looks) > 1

    async def run() -> None:
        waiting = Waiting(late, lambda: True)
        waiting.use(PolicyIndex(POLICY))
        assert not waiting.begin(Client(CLIENT), lambda: None, NOW)
        assert (len(looks), waiting._waits, waiting._count) == (2, {}, 0)

    asyncio.run(run())


def test_who_was_waited_for_in_vain_is_remembered_an_hour_and_bounded() -> None:
    async def run() -> None:
        waiting = Waiting(lambda *_: False, lambda: True)
        waiting.use(PolicyIndex(POLICY))
        for number in range(MAX_WAITED + 10):
            waiting._in_vain(Client(str(number)), NOW)
        assert len(waiting._waited) == MAX_WAITED
        last = Client(str(MAX_WAITED))
        assert not waiting.begin(last, lambda: None, NOW + WAITED_S * 1_000_000 - 1)
        assert waiting.begin(last, lambda: None, NOW + WAITED_S * 1_000_000)
        assert waiting.begin(Client("0"), lambda: None, NOW)
        waiting.end_all()

    asyncio.run(run())
