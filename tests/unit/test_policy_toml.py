"""policy.toml: what is written is read back, and each mistake is answered with its place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import PolicyError
from streams.model.client import ClientPrefixes, parse_network
from streams.model.instant import parse_instant
from streams.model.policy import Block, Exemption, Limits, Policy, Replies
from streams.wire.policy_toml import read_policy, write_policy
from tests.properties.histories import POLICIES


@settings(max_examples=200, deadline=None)
@given(POLICIES, st.text(max_size=40))
def test_what_is_written_is_read_back(policy: Policy, note: str) -> None:
    noted = Policy(
        limits=policy.limits,
        networks=policy.networks,
        exemptions=policy.exemptions,
        blocks=(
            *policy.blocks,
            Block(network=parse_network("198.51.100.0/24"), note=note.replace("\ud800", "")),
        ),
    )
    again = read_policy(write_policy(noted))
    assert again == noted
    assert again.version == noted.version


def test_an_empty_file_is_the_defaults() -> None:
    assert read_policy("") == Policy()
    assert read_policy("networks = []").networks == ()


def test_a_file_without_networks_keeps_its_other_limits_for_the_internal_one() -> None:
    internal = read_policy("[limits]\ncool_down_s = 7\nconcurrent_connections = 3\n").networks[0]
    assert (internal.limits.cool_down_s, internal.limits.concurrent_connections) == (7, 50)


def test_a_network_overrides_what_it_names() -> None:
    policy = read_policy(
        '[limits]\nrequests_per_minute = 7\n[[networks]]\ncidr = "10.0.0.0/8"\nconcurrent_connections = 9\n'
    )
    limits = policy.networks[0].limits
    assert (limits.requests_per_minute, limits.concurrent_connections) == (7, 9)


def test_every_table_is_read() -> None:
    policy = read_policy(
        "[clients]\nipv4_prefix = 24\n"
        '[replies]\nconnect_code = 550\nopening = "Not now"\n'
        '[[exemptions]]\nmodule = "dnsbl"\naddress = "192.0.2.7"\nexpires = 2026-12-31\n'
        '[[exemptions]]\nmodule = "rate"\naddress = "2001:db8::/32"\nexpires = "2026-12-31T10:00:00+02:00"\n'
        '[[exemptions]]\nmodule = "rate"\naddress = "::ffff:192.0.2.0/120"\nexpires = 2026-12-31T08:00:00Z\n'
        '[[blocks]]\naddress = "203.0.113.9"\nnote = "spam"\n'
    )
    eight = parse_instant("2026-12-31T08:00:00Z")
    assert policy.clients == ClientPrefixes(ipv4=24, ipv6=64)
    assert policy.replies == Replies(connect_code=550, opening="Not now")
    assert policy.exemptions == (
        Exemption(
            module="dnsbl", network=parse_network("192.0.2.7"), expires=parse_instant("2026-12-31T00:00:00Z")
        ),
        Exemption(module="rate", network=parse_network("2001:db8::/32"), expires=eight),
        Exemption(module="rate", network=parse_network("192.0.2.0/24"), expires=eight),
    )
    assert policy.blocks == (Block(network=parse_network("203.0.113.9"), note="spam"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits", "p.toml: "),
        ("[limit]\n", "p.toml: 'limit' is not known; did you mean limits?"),
        ("[zzz]\n", "known are limits, clients, networks"),
        ("limits = 3\n", "p.toml: [limits] must be a table"),
        ("networks = 3\n", "p.toml: [[networks]] must be a list of tables"),
        ("[limits]\ncool_down_s = -5\n", "p.toml: [limits] cool_down_s = -5 must be positive"),
        ("[limits]\nrepeat_within_s = -1\n", "repeat_within_s = -1 must be zero or more"),
        ("[limits]\nsession_idle_s = 99999\n", "a whole number up to 43200"),
        ("[limits]\nrequests_per_minute = true\n", "requests_per_minute = True must be positive"),
        ("[limits]\nrequests_per_minute = 1.5\n", "requests_per_minute = 1.5 must be positive"),
        ("[limits]\nwarn_at = 2\n", "warn_at = 2 must be a number from 0 to 1"),
        ("[limits]\ncool_down_growth = 0.5\n", "must be a number from 1 to 100"),
        ("[limits]\ncool_down_growth = 2\ncool_down_max_s = 5\n", "cool_down_max_s = 5 is under cool_down_s"),
        ("[clients]\nipv4_prefix = 33\n", "[clients] client prefixes 33/64 are out of range"),
        ("[clients]\nipv6_prefix = 'x'\n", "[clients] ipv6_prefix = 'x' must be a whole number"),
        ("[[networks]]\n", "[[networks]] entry 1: cidr = '' must be a text"),
        ("[[networks]]\ncidr = '10.0.0.1/8'\n", "10.0.0.1/8 has host bits set"),
        ("[[exemptions]]\nmodule = 'rates'\n", "module = 'rates' is none of rate, dnsbl, greylist, protocol"),
        (
            "[[exemptions]]\nmodule = 'rate'\naddress = '192.0.2.0-192.0.2.255'\n",
            "is a range, not an address or CIDR. Try: 192.0.2.0/24",
        ),
        (
            "[[exemptions]]\nmodule = 'rate'\naddress = '192.0.2.9-192.0.2.1'\n",
            "is a range, not an address or CIDR. Try: 192.0.2.0/24",
        ),
        (
            "[[exemptions]]\nmodule = 'rate'\naddress = '192.0.2.7'\nexpires = 'soon'\n",
            "entry 1: expires: 'soon' is not an RFC 3339 time",
        ),
        (
            "[[exemptions]]\nmodule = 'rate'\naddress = '192.0.2.7'\nexpires = 2026-12-31T00:00:00\n",
            "has no time zone",
        ),
        (
            "[[exemptions]]\nmodule = 'rate'\naddress = '192.0.2.7'\nexpires = 5\n",
            "expires = 5 must be a time such as 2026-12-31T23:59:59Z",
        ),
        (
            "[[blocks]]\naddress = 'nobody'\n",
            "[[blocks]] entry 1: address = 'nobody' is not an address or CIDR",
        ),
        ("[[blocks]]\naddress = '192.0.2.7'\nnote = 5\n", "note = 5 must be a text of up to 256 characters"),
        ("[replies]\nconnect_code = 250\n", "[replies] connect_code = 250 must be from 500 to 599"),
        ("[replies]\nopening = 'Geh weg, Bösewicht'\n", "[replies] opening must be printable ASCII"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read_policy(text, file="p.toml")
    assert str(caught.value).startswith("p.toml: ")
    assert said in str(caught.value)
    assert "Try: " in str(caught.value)
    assert caught.value.exit_code == 3


def test_warning_counts_are_shares_rounded_up() -> None:
    limits = Limits(warn_at=0.8)
    assert [limits.warning_count(limit) for limit in (1, 4, 10, 20, 30)] == [1, 4, 8, 16, 24]
    assert Limits(warn_at=0.0).warning_count(10) == 0
