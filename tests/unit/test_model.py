"""Addresses, clients, instants and standings: what they accept, and how they are written."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import GoawayError, InvalidValueError
from streams.model.client import ClientPrefixes, parse_address, parse_network
from streams.model.instant import Instant, as_datetime, instant_of, parse_instant, rfc3339
from streams.model.policy import Block, Limits, NetworkRule, Policy
from streams.model.standing import PolicyIndex, PrefixMap


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("IPv6:2001:DB8::0:1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_addresses_have_one_form(written: str, canonical: str) -> None:
    assert parse_address(written) == canonical


@pytest.mark.parametrize("text", ["", "unknown", "192.0.2", "192.0.2.256", "1" * 100, "192.0.2.7/24", "::g"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="is not an IP address"):
        parse_address(text)


def test_clients_are_one_ipv4_address_or_a_64() -> None:
    clients = ClientPrefixes()
    assert clients.client_of(parse_address("192.0.2.7")) == "192.0.2.7"
    assert clients.client_of(parse_address("2001:db8::1:2:3:4")) == "2001:db8::/64"
    assert ClientPrefixes(ipv4=24, ipv6=128).client_of(parse_address("192.0.2.7")) == "192.0.2.0/24"
    assert ClientPrefixes(ipv4=24, ipv6=128).client_of(parse_address("2001:db8::1")) == "2001:db8::1"


def test_a_range_is_answered_with_the_networks_that_cover_it() -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_network("192.0.2.0-192.0.2.130")
    assert caught.value.try_next == "192.0.2.0/25 192.0.2.128/31 192.0.2.130/32"
    with pytest.raises(InvalidValueError) as caught:
        parse_network("192.0.2.0-2001:db8::")
    assert caught.value.try_next == "192.0.2.0/24"


@given(st.integers(0, 253_402_300_799_999_999))
def test_instants_are_written_and_read_back(at: int) -> None:
    assert parse_instant(rfc3339(at)) == at
    assert instant_of(as_datetime(at)) == at
    assert len(rfc3339(at)) == 27


@given(st.integers(0, 2**45), st.integers(0, 2**45))
def test_texts_of_instants_sort_as_they_do(one: int, other: int) -> None:
    assert (rfc3339(one) < rfc3339(other)) == (one < other)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2023-03-14T00:00:31.185246+01:00", "2023-03-13T23:00:31.185246Z"),
        ("2023-03-13T23:00:31Z", "2023-03-13T23:00:31.000000Z"),
        ("2023-03-13T23:00:31.5Z", "2023-03-13T23:00:31.500000Z"),
        ("2023-03-13T23:00:31.1234567Z", "2023-03-13T23:00:31.123456Z"),
    ],
)
def test_any_rfc_3339_time_is_read(text: str, same: str) -> None:
    assert rfc3339(parse_instant(text)) == same


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2023-13-01T00:00:00.000000Z", "2023-03-13T23:00:31", "2023-03-13T23:00:31.12345xZ"],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError):
        parse_instant(text)


def test_an_instant_shows_itself_as_time() -> None:
    assert repr(Instant(0)) == "Instant(1970-01-01T00:00:00.000000Z)"


NETWORKS = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=12)


@given(NETWORKS, st.integers(0, 2**32 - 1))
def test_the_most_specific_network_comes_first(networks: list[tuple[int, int]], number: int) -> None:
    held: PrefixMap[str] = PrefixMap()
    known = {parse_network(f"{IPv4Address(n >> (32 - b) << (32 - b) if b else 0)}/{b}") for n, b in networks}
    for network in known:
        held.add(network, str(network))
    address = IPv4Address(number)
    wanted = sorted((n for n in known if address in n), key=lambda network: -network.prefixlen)
    assert held.matches(parse_address(str(address))) == [str(network) for network in wanted]
    assert bool(held) == bool(known)


def test_ipv6_networks_are_found() -> None:
    rule = NetworkRule(
        network=parse_network("2001:db8::/32"), name="v6", limits=Limits(requests_per_minute=5)
    )
    block = Block(network=parse_network("2001:db8:bad::/48"), note="bad")
    index = PolicyIndex(Policy(networks=(rule,), blocks=(block,)))
    assert index.standing(parse_address("2001:db8::1")).limits.requests_per_minute == 5
    assert index.standing(parse_address("2001:db8:bad::1")).blocked(0) == block
    assert index.standing(parse_address("2001:db9::1")).limits == Limits()
    assert isinstance(ip_address("2001:db8::1"), IPv6Address)


def test_the_memo_of_standings_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.model.standing._MEMO_ENTRIES", 3)
    index = PolicyIndex(Policy())
    for number in range(10):
        index.standing(parse_address(f"192.0.2.{number}"))
        assert len(index._memo) <= 3


def test_errors_end_with_the_next_command() -> None:
    assert str(GoawayError("it is broken")) == "it is broken"
    assert str(GoawayError("it is broken", try_next="goaway doctor")) == "it is broken. Try: goaway doctor"
    assert str(GoawayError("is it?", try_next="goaway doctor")) == "is it? Try: goaway doctor"


def test_an_expired_block_entry_hides_no_wider_one_that_stands() -> None:
    wide = Block(network=parse_network("192.0.2.0/24"), note="wide")
    narrow = Block(network=parse_network("192.0.2.7"), note="narrow", expires=Instant(100))
    standing = PolicyIndex(Policy(blocks=(narrow, wide))).standing(parse_address("192.0.2.7"))
    assert standing.blocked(99) == narrow
    assert standing.blocked(100) == wide
