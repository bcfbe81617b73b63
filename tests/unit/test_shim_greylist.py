"""Greylisting's memory: who passes, how long the others wait, what is forgotten."""

import pytest
from msgspec.structs import replace

from streams.errors import InvalidValueError
from streams.model.client import Address, ClientPrefixes, parse_address
from streams.model.decision import Action, Decision
from streams.model.greylist import greylist_triplet
from streams.model.instant import MICROSECONDS, Instant
from streams.model.modules import Greylist
from streams.shim.greylist import GreylistMemory
from tests.policy_cases import decision

POLICY = Greylist(enabled=True, delay_s=600, retry_window_s=14_400, pool_clients=3)
NOW = 1_000_000 * MICROSECONDS
MAIL = ("a@example.org", "b@example.com")


def at(seconds: float) -> int:
    return NOW + int(seconds * MICROSECONDS)


def told(
    action: Action,
    address: str,
    seconds: float,
    until_s: float | None,
    *,
    mail: tuple[str, str] = MAIL,
    pool: str = "",
) -> Decision:
    """A greylist decision about this address."""
    client = ClientPrefixes().client_of(parse_address(address))
    end = None if until_s is None else at(until_s)
    made = decision("greylist", client, at(seconds), end, action=action)
    triplet = greylist_triplet(*mail) if action == "defer" else ""
    return replace(made, address=Address(address), triplet=triplet, pool=pool)


def attempt(
    memory: GreylistMemory,
    seconds: float,
    address: str = "192.0.2.1",
    pool: str = "",
    mail: tuple[str, str] = MAIL,
) -> tuple[bool, int]:
    """Whether it passes, and else the seconds left."""
    client = ClientPrefixes().client_of(Address(address))
    found = memory.attempt(client, Address(address), pool, *mail, at(seconds))
    return found.passes, 0 if found.passes else found.seconds_left(at(seconds))


def test_a_retry_passes_after_the_delay_and_within_the_window() -> None:
    memory = GreylistMemory(POLICY)
    assert attempt(memory, 0) == (False, 600)
    assert attempt(memory, 599.999999) == (False, 1)
    assert attempt(memory, 600) == (True, 0)
    assert attempt(memory, 14_399.9) == (True, 0)
    assert attempt(memory, 14_400) == (False, 600), "too late: a first attempt again"


def test_seconds_left_are_rounded_up() -> None:
    memory = GreylistMemory(POLICY)
    attempt(memory, 0)
    assert attempt(memory, 0.000001) == (False, 600)
    assert attempt(memory, 1) == (False, 599)
    assert attempt(memory, 1.5) == (False, 599)


def test_an_early_retry_does_not_begin_anew() -> None:
    memory = GreylistMemory(POLICY)
    for seconds in range(0, 600, 60):
        attempt(memory, seconds)
    assert attempt(memory, 600) == (True, 0)


@pytest.mark.parametrize(
    ("address", "mail"),
    [
        ("192.0.3.1", MAIL),
        ("192.0.2.1", ("other@example.org", "b@example.com")),
        ("192.0.2.1", ("a@example.org", "other@example.com")),
    ],
)
def test_another_network_sender_or_recipient_is_another_triplet(address: str, mail: tuple[str, str]) -> None:
    memory = GreylistMemory(POLICY)
    attempt(memory, 0)
    assert attempt(memory, 600, address, mail=mail) == (False, 600)


def test_a_neighbour_in_the_network_may_retry_and_letter_case_and_tags_do_not_matter() -> None:
    memory = GreylistMemory(POLICY)
    attempt(memory, 0, "2001:db8::1", mail=("News+123@Example.org", "B@example.com"))
    assert attempt(memory, 600, "2001:db8::ffff", mail=("news+456@example.org", "b@Example.com")) == (True, 0)


def test_a_retry_from_another_address_of_the_pool_passes() -> None:
    memory = GreylistMemory(POLICY)
    assert attempt(memory, 0, "192.0.2.1", "mail.example.org") == (False, 600)
    assert attempt(memory, 300, "198.51.100.1", "mail.example.org") == (False, 300)
    assert attempt(memory, 600, "198.51.100.1", "mail.example.org") == (True, 0)
    assert attempt(memory, 600, "198.51.101.1") == (False, 600), "without the name it is a stranger"


def test_a_network_is_no_pool_whatever_a_name_may_look_like() -> None:
    memory = GreylistMemory(POLICY)
    attempt(memory, 0, "192.0.2.1")
    assert attempt(memory, 600, "198.51.100.1", "192.0.2.0/24") == (False, 600)


def test_what_another_shim_put_off_is_known_here() -> None:
    memory = GreylistMemory(POLICY)
    memory.take(told("defer", "192.0.2.1", 0, 14_400, pool="example.org"), at(1))
    assert attempt(memory, 100) == (False, 500)
    assert attempt(memory, 600) == (True, 0)
    assert attempt(memory, 600, "198.51.100.1", "example.org") == (True, 0)


def test_of_first_attempts_within_a_window_the_earliest_counts_in_whatever_order_they_come() -> None:
    memory = GreylistMemory(POLICY)
    for seconds in (50, 10, 90, 10):
        memory.take(told("defer", "192.0.2.1", seconds, seconds + 14_400), at(100))
    assert attempt(memory, 100) == (False, 510)
    memory.take(told("defer", "192.0.2.1", 20_000, 34_400), at(20_000))
    memory.take(told("defer", "192.0.2.1", 50, 14_450), at(20_000))
    assert attempt(memory, 20_000) == (False, 600)


def test_a_clock_ahead_makes_nobody_wait_longer() -> None:
    memory = GreylistMemory(POLICY)
    memory.take(told("defer", "192.0.2.1", 5_000, 20_000), at(0))
    assert attempt(memory, 0) == (False, 600)
    attempt(memory, 9_000, mail=("x@example.org", "y@example.org"))
    assert attempt(memory, 0, mail=("x@example.org", "y@example.org")) == (False, 600)


def test_a_learnt_client_vouches_for_its_network_until_it_ends() -> None:
    memory = GreylistMemory(POLICY)
    memory.take(told("pass", "192.0.2.1", 0, 1000), at(0))
    assert attempt(memory, 999, "192.0.2.200") == (True, 0)
    assert attempt(memory, 1000, "192.0.2.200") == (False, 600)
    assert memory.learnt == 1
    memory.purge(at(1000))
    assert memory.learnt == 0


@pytest.mark.parametrize("action", ["release", "block"])
def test_who_is_forgotten_or_blocked_is_learnt_no_longer(action: Action) -> None:
    memory = GreylistMemory(POLICY)
    memory.take(told("pass", "192.0.2.1", 10, 1000), at(10))
    memory.take(told(action, "192.0.2.1", 5, 1000), at(11))
    assert attempt(memory, 12) == (True, 0), "what is older changes nothing"
    memory.take(told(action, "192.0.2.1", 20, 1000), at(20))
    assert attempt(memory, 21) == (False, 600)
    memory.take(told("pass", "192.0.2.1", 30, 1000), at(30))
    assert attempt(memory, 31) == (True, 0)


def forgotten(address: str, seconds: float) -> Decision:
    """What the worker says of each trigger when an administrator has a client forgotten."""
    return replace(told("release", address, seconds, seconds), rule="forgotten")


def test_who_is_forgotten_waits_the_whole_delay_again() -> None:
    memory = GreylistMemory(POLICY)
    assert attempt(memory, 0) == attempt(memory, 0, "198.51.100.1") == (False, 600)
    memory.take(forgotten("192.0.2.1", 200), at(201))
    assert attempt(memory, 300) == (False, 600), "not the 300 s that were left"
    memory.take(told("defer", "192.0.2.1", 0, 14_400), at(301))
    memory.take(forgotten("192.0.2.1", 200), at(302))
    assert attempt(memory, 899) == (False, 1), "read again, in any order, it changes nothing"
    assert attempt(memory, 600, "198.51.100.1") == (True, 0), "others are not touched"
    assert attempt(memory, 900) == (True, 0)
    memory.take(forgotten("192.0.2.1", 901), at(901))
    assert attempt(memory, 902) == (False, 600), "its retry that passed is forgotten too"


def test_a_release_from_a_clock_that_is_ahead_does_not_put_off_for_ever() -> None:
    memory = GreylistMemory(POLICY)
    memory.take(forgotten("192.0.2.1", 5000), at(10))
    assert attempt(memory, 11) == (False, 600)
    assert attempt(memory, 611) == (True, 0)


def test_the_retries_of_who_is_forgotten_no_longer_vouch_for_its_pool() -> None:
    memory = GreylistMemory(replace(POLICY, pool_clients=1))
    other = ("new@example.org", "x@example.com")
    attempt(memory, 0, pool="example.org")
    assert attempt(memory, 600, pool="example.org") == (True, 0)
    memory.take(forgotten("192.0.2.1", 700), at(700))
    assert attempt(memory, 701, "198.51.100.1", "example.org", other) == (False, 600)


def test_a_client_is_forgotten_its_neighbours_are_not() -> None:
    memory = GreylistMemory(POLICY)
    for address, seconds, left in (("192.0.2.8", 0, 600), ("192.0.2.7", 100, 500), ("192.0.2.9", 250, 350)):
        assert attempt(memory, seconds, address, "example.org") == (False, left)
    memory.take(forgotten("192.0.2.7", 500), at(500))
    assert attempt(memory, 600, "192.0.2.8") == (True, 0)
    memory.take(forgotten("192.0.2.8", 700), at(700))
    assert attempt(memory, 849, "192.0.2.8") == (False, 1), "its neighbour's attempt is left to it"
    assert attempt(memory, 850, "198.51.100.1", "example.org") == (True, 0)


def test_that_a_client_was_forgotten_may_be_read_last() -> None:
    memory = GreylistMemory(POLICY)
    for address, seconds in (("192.0.2.1", 0), ("192.0.2.9", 250), ("192.0.2.1", 300)):
        memory.take(told("defer", address, seconds, seconds + 14_400), at(310))
    memory.take(forgotten("192.0.2.1", 200), at(320))
    assert attempt(memory, 849, "192.0.2.9") == (False, 1)
    assert attempt(memory, 860, "192.0.2.9") == (True, 0)
    memory.take(forgotten("192.0.2.9", 260), at(861))
    assert attempt(memory, 899, "192.0.2.9") == (False, 1)


def test_what_is_older_than_the_release_is_not_learnt_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.shim.learnt.MAX_ENDED", 2)
    memory = GreylistMemory(POLICY)
    memory.take(forgotten("192.0.2.1", 200), at(200))
    memory.take(told("pass", "192.0.2.1", 100, 5000), at(201))
    assert memory.learnt == 0
    memory.take(forgotten("192.0.2.1", 9000), at(202))
    memory.take(told("pass", "192.0.2.1", 203, 5000), at(203))
    assert memory.learnt == 1, "a clock that was ahead keeps nobody from being learnt"
    for number in range(3, 9):
        memory.take(forgotten(f"192.0.{number}.1", 300), at(300))
    assert len(memory._learnt._ended) == 2


def test_an_attempt_and_its_record_are_one_and_of_many_the_earliest_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.shim.greylist.MAX_CLIENTS", 3)
    memory = GreylistMemory(POLICY)
    attempt(memory, 10)
    for seconds in (10.5, 9.5):
        made = told("defer", "192.0.2.1", 0, 14_400)
        memory.take(replace(made, at=Instant(NOW + int(seconds * MICROSECONDS))), at(11))
    assert memory.triplets == 1
    assert attempt(memory, 609) == (False, 1)
    for number in range(2, 9):
        attempt(memory, 10 + number, f"192.0.2.{number}")
    assert memory.triplets == 3


def test_a_client_of_many_addresses_is_forgotten_as_one() -> None:
    memory = GreylistMemory(replace(POLICY, pool_clients=1))
    other = ("new@example.org", "x@example.com")
    attempt(memory, 0, "2001:db8::1", "example.org")
    assert attempt(memory, 600, "2001:db8::2", "example.org") == (True, 0)
    assert attempt(memory, 601, "198.51.100.1", "example.org", other) == (True, 0)
    memory.take(forgotten("2001:db8::3", 599), at(700))
    assert attempt(memory, 701, "198.51.100.1", "example.org", other) == (True, 0), "it retried later"
    memory.take(forgotten("2001:db8::3", 701), at(701))
    assert attempt(memory, 702, "198.51.100.1", "example.org", other) == (False, 600)
    assert attempt(memory, 703, "2001:db8::1", "example.org") == (False, 600)


def test_what_was_forgotten_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.shim.greylist.MAX_FORGOTTEN", 2)
    memory = GreylistMemory(POLICY)
    for number in range(4):
        memory.take(forgotten(f"192.0.{number}.1", number), at(number))
    assert len(memory._forgotten) == 2
    memory.purge(at(14_403))
    assert not memory._forgotten


def test_a_pool_passes_once_so_many_of_its_clients_are_learnt() -> None:
    memory = GreylistMemory(POLICY)
    for number in (1, 1, 2):
        memory.take(told("pass", f"192.0.{number}.1", number, 1000 + number, pool="example.org"), at(number))
    assert attempt(memory, 10, "198.51.100.1", "example.org") == (False, 600)
    memory.take(told("pass", "192.0.3.1", 11, 2000, pool="example.org"), at(11))
    assert attempt(memory, 12, "198.51.100.1", "example.org", ("new@example.org", "x@example.com"))[0]
    assert not attempt(memory, 12, "198.51.100.1", "example.net", ("new@example.org", "x@example.com"))[0]
    assert not attempt(memory, 1001, "198.51.100.1", "example.org", ("n@example.org", "x@example.com"))[0]


def test_without_pool_clients_no_pool_passes() -> None:
    memory = GreylistMemory(replace(POLICY, pool_clients=0))
    for number in range(10):
        memory.take(told("pass", f"192.0.{number}.1", 0, 1000, pool="example.org"), at(0))
    assert attempt(memory, 1, "198.51.100.1", "example.org") == (False, 600)


def test_a_changed_policy_holds_for_what_is_remembered() -> None:
    memory = GreylistMemory(POLICY)
    attempt(memory, 0)
    memory.take(told("pass", "203.0.113.1", 0, 1000), at(0))
    memory.use(replace(POLICY, delay_s=60, ipv4_prefix=32))
    assert attempt(memory, 61, "203.0.113.1") == (True, 0)
    assert attempt(memory, 61, "203.0.113.2") == (False, 60)
    memory.use(replace(POLICY, delay_s=60))
    assert attempt(memory, 61, "203.0.113.2") == (True, 0)
    assert attempt(memory, 61) == (True, 0)


def test_the_memory_is_bounded_and_the_oldest_goes() -> None:
    memory = GreylistMemory(POLICY, triplets=100, learnt=50)
    for number in range(300):
        attempt(memory, number, mail=(f"{chr(97 + number % 26)}{'x' * number}@example.org", "b@example.com"))
    assert memory.triplets == 100
    for number in range(300):
        address = f"10.{number // 256}.{number % 256}.1"
        memory.take(told("pass", address, number, 10_000, pool="example.org"), at(number))
    assert memory.learnt == 50
    assert len(memory._learnt._vouchers) == 51
    assert not attempt(memory, 300, "10.0.0.1")[0]
    assert attempt(memory, 300, "10.1.43.1")[0]


def test_purge_forgets_what_ended() -> None:
    memory = GreylistMemory(POLICY)
    attempt(memory, 0)
    attempt(memory, 100, "198.51.100.1")
    memory.purge(at(14_400))
    assert memory.triplets == 1
    memory.purge(at(14_500))
    assert memory.triplets == 0


def test_what_ended_before_it_was_read_is_not_remembered() -> None:
    memory = GreylistMemory(POLICY)
    memory.take(told("defer", "192.0.2.1", 0, 14_400), at(14_400))
    memory.take(told("pass", "192.0.2.1", 0, 100), at(100))
    memory.take(told("defer", "192.0.2.2", 0, 50_000), at(14_400))
    assert (memory.triplets, memory.learnt) == (0, 0)


def test_a_decision_about_no_address_is_refused() -> None:
    with pytest.raises(InvalidValueError):
        GreylistMemory(POLICY).take(replace(told("pass", "192.0.2.1", 0, 9), address=Address("junk")), NOW)
