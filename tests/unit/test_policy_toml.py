"""policy.toml and its entries: each mistake is answered with its place."""

from time import process_time
from typing import Any

import pytest

from streams.errors import PolicyError
from streams.model.client import ClientPrefixes, parse_network
from streams.model.instant import parse_instant
from streams.model.policy import Block, Exemption, Limits, Policy, Replies
from streams.wire.policy_entries import Entries, entries_of, policy_of, toml_of
from streams.wire.policy_remarks import doubled
from streams.wire.policy_toml import read_policy


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
    assert policy.exemptions == (  # in the order of their keys
        Exemption(
            module="dnsbl", network=parse_network("192.0.2.7"), expires=parse_instant("2026-12-31T00:00:00Z")
        ),
        Exemption(module="rate", network=parse_network("192.0.2.0/24"), expires=eight),
        Exemption(module="rate", network=parse_network("2001:db8::/32"), expires=eight),
    )
    assert policy.blocks == (Block(network=parse_network("203.0.113.9"), note="spam"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits", "p.toml: "),
        ("[limit]\n", "p.toml: 'limit' is not known; did you mean limits?"),
        ("[zzz]\n", "known are limits, clients, reputation, greylist"),
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
            "is a range that ends before it begins. Try: 192.0.2.1/32, 192.0.2.2/31, 192.0.2.4/30, "
            "192.0.2.8/31",
        ),
        (
            "[[blocks]]\naddress = '203.0.113.5-10'\n",
            "'203.0.113.5-10' is a range, not an address or CIDR. Try: 203.0.113.5/32, 203.0.113.6/31, ",
        ),
        ("[[blocks]]\naddress = 'mail-1.example.com'\n", "'mail-1.example.com' is not an address or CIDR"),
        ("[[blocks]]\naddress = '192.0.2.1-x'\n", "is a range whose end 'x' is no address"),
        ("[[blocks]]\naddress = '192.0.2.1-2001:db8::'\n", "from IPv4 to IPv6. Try: one range of each"),
        (
            '[[blocks]]\naddress = "192.0.2.7"\nnote = "x\\u001b]0;pwned\\u0007"\n',
            "note = 'x\\x1b]0;pwned\\x07' has a line break or a control character",
        ),
        ('[[partners]]\naddress = "192.0.2.7"\nname = "a\\nb"\n', "has a line break"),
        ("[notify]\nquiet_from = '22:00'\n", "goaway policy set notify.quiet_from 22:00 notify.quiet_to"),
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
        (
            "[replies]\nenhanced_status = '4.7.1'\n",
            "enhanced_status = '4.7.1' must be a status such as '5.7.1'",
        ),
        ("[limits]\nsession_idle_s = " + "9" * 5000 + "\n", "p.toml: "),
        ("[limits]\nsession_idle_s = " + "9" * 50 + "\n", "p.toml: [limits] "),
        ("[limits]\nwarn_at = nan\n", "[limits] warn_at = None must be a number from 0 to 1"),
        ("[reputation]\ntreshold = 2\n", "'treshold' is not known; did you mean threshold?"),
        ("[reputation]\ntimeout_ms = 0\n", "timeout_ms = 0 must be a whole number from 10 to 30000"),
        ("[reputation]\nresolvers = ['a b']\n", "resolvers = 'a b' must be HOST or HOST:PORT"),
        ("[reputation]\nresolvers = 'x'\n", "resolvers = 'x' must be a list of up to 16"),
        ("[reputation]\nttl_min_s = 100000\n", "[reputation] ttl_min_s = 100000 is over ttl_max_s"),
        ("[reputation]\ninternal = 1\n", "internal = 1 must be true or false"),
        ("[greylist]\nretry_window_s = 600\n", "retry_window_s = 600 must be over delay_s"),
        ("[greylist]\nno_retry_after_s = 60\n", "no_retry_after_s = 60 must be over delay_s"),
        (
            "[greylist]\nlearnt_s = 9999999\n",
            "learnt_s = 9999999 must be positive, a whole number up to 2592000",
        ),
        ("[greylist]\nipv4_prefix = 7\n", "ipv4_prefix = 7 must be a whole number from 8 to 32"),
        ("[protocol]\nmissing_hello = true\n", "did you mean missing_helo?"),
        ("[protocol]\nthreshold = 0\n", "[protocol] threshold = 0 must be positive"),
        ("[notify]\nabout = ['all']\n", "about = 'all' is none of limit, block, shadow, zone"),
        ("[notify]\nquiet_from = '22:00'\n", "quiet_from and quiet_to go together"),
        ("[notify]\nquiet_from = '25:00'\n", "quiet_from = '25:00' must be a time of day"),
        ("[notify]\ntimezone = '../UTC'\n", "timezone = '../UTC' is no time zone"),
        ("[shadow]\nrules = ['blocklist']\n", "rules = 'blocklist' is none of rate, reputation"),
        ("[[zones]]\n", "[[zones]] entry 1: domain = '' must be a text"),
        ("[[zones]]\ndomain = 'no such host'\n", "domain = 'no such host' must be a host name"),
        ("[[zones]]\ndomain = 'a.example'\nweight = 1001\n", "weight = 1001 must be zero or more"),
        ("[[zones]]\ndomain = 'a.example'\nname = 'Bär'\n", "name must be printable ASCII"),
        ("[[zones]]\ndomain = 'a.example'\ncodes = [1]\n", "codes = [1] must be a table such as"),
        ("[[zones]]\ndomain = 'a.example'\ncodes = {'10.0.0.1' = 1}\n", "'10.0.0.1' must lie in 127.0.0.0/8"),
        (
            "[[zones]]\ndomain = 'a.example'\ncodes = {'127.255.255.254' = 1}\n",
            "codes: '127.255.255.254' is how a zone says that it does not answer, never a listing",
        ),
        (
            "[[zones]]\ndomain = 'a.example'\ncodes = {'127.0.0.2' = -1}\n",
            "codes: 127.0.0.2 = -1 must be zero",
        ),
        (
            "[[zones]]\ndomain = 'a.example'\ndelisting = 'javascript:alert(1)'\n",
            "delisting = 'javascript:alert(1)' must be an address that begins with https://",
        ),
        ("[[partners]]\naddress = '192.0.2.0/24'\n", "address = '192.0.2.0/24' is not an IP address"),
        ("[[suspensions]]\nmodule = 'rate'\n", "[[suspensions]] entry 1: until = None must be a time"),
        ("[[suspensions]]\nmodule = 'rate'\nuntil = 2400-01-01\n", "must be a time from 1970 to 2299"),
        ("[[schedules]]\nname = 'a/b'\nwarn_at = 0\n", "name = 'a/b' must be of letters, digits, spaces"),
        ("[[schedules]]\nname = 'a'\n", "[[schedules]] entry 1: changes nothing: name a key of [limits]"),
        (
            "[[schedules]]\nname = 'a'\nwarn_at = 0\ntimezone = 'Mars/X'\n",
            "timezone = 'Mars/X' is no time zone",
        ),
        ("[[schedules]]\nname = 'a'\nwarn_at = 0\nfrom = '24:00'\n", "from = '24:00' must be a time of day"),
        ("[[schedules]]\nname = 'a'\nwarn_at = 0\nto = '9:00'\n", "to = '9:00' must be a time of day"),
        ("[[schedules]]\nname = 'a'\nwarn_at = 0\ndays = [0]\n", "days = 0 must be from 1 to 31, or from -1"),
        ("[[schedules]]\nname = 'a'\nwarn_at = 0\nmonths = [13]\n", "months = 13 must be positive"),
        (
            "[[schedules]]\nname = 'a'\nwarn_at = 0\nweekdays = ['monday']\n",
            "weekdays = 'monday' is none of mon, tue",
        ),
        (
            "[limits]\ncool_down_growth = 2.0\n[[schedules]]\nname = 'a'\ncool_down_s = 9999\n",
            "p.toml: schedules/a: cool_down_max_s = 3600 is under cool_down_s",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read_policy(text, file="p.toml")
    assert str(caught.value).startswith("p.toml: ")
    assert said in str(caught.value)
    assert "Try: " in str(caught.value)
    assert caught.value.exit_code == 3


WHOLE = """
shadow.rules = ["protocol", "no_retry"]
[limits]
requests_per_minute = 7
[greylist]
enabled = true
[[networks]]
cidr = "10.0.0.0/8"
internal = true
[[zones]]
domain = "ZEN.spamhaus.org."
name = "Spamhaus"
codes = { "127.0.0.0/8" = 1, "127.0.0.10/31" = 0, "127.0.0.2" = 1000 }
[[partners]]
address = "::ffff:192.0.2.25"
[[suspensions]]
module = "rate"
until = 2026-12-31
[[schedules]]
name = "month end"
timezone = "Europe/Berlin"
days = [1, -1]
weekdays = ["tue", "mon"]
from = "22:00"
to = "00:00"
networks = ["10.0.0.0/8"]
requests_per_minute = 70
[[blocks]]
address = "192.0.2.7"
note = "first"
[[blocks]]
address = "192.0.2.7/32"
note = "last"
by = "anna"
expires = 2026-12-31T10:00:00.5+02:00
"""


def test_the_new_tables_are_read() -> None:
    policy = read_policy(WHOLE)
    assert policy.networks[0].internal
    assert policy.networks[0].limits.requests_per_minute == 7
    zone = policy.zones[0]
    assert (zone.domain, zone.shown) == ("zen.spamhaus.org", "Spamhaus")
    assert [(str(code), weight) for code, weight in zone.codes] == [
        ("127.0.0.2/32", 1000),
        ("127.0.0.10/31", 0),
        ("127.0.0.0/8", 1),
    ]
    assert policy.partners[0].address == "192.0.2.25"
    schedule = policy.schedules[0]
    assert (schedule.days, schedule.weekdays) == ((-1, 1), (0, 1))
    assert (schedule.from_minute, schedule.to_minute) == (1320, 1440)
    assert schedule.overrides == (("requests_per_minute", 70),)
    assert policy.shadow == ("no_retry", "protocol")
    (block,) = policy.blocks
    assert (block.note, block.by, block.expires) == ("last", "anna", parse_instant("2026-12-31T08:00:00.5Z"))


def test_a_note_is_in_any_language() -> None:
    note = "外部\u3000監視\u00a0👩\u200d💻"
    found = read_policy(f'[[blocks]]\naddress = "192.0.2.7"\nnote = "{note}"\n', file="policy.toml")
    assert found.blocks[0].note == note


def test_entries_say_what_the_file_says_and_no_more() -> None:
    entries = entries_of(WHOLE)
    assert entries["limits"] == {"requests_per_minute": 7}
    assert entries["networks/10.0.0.0/8"] == {"internal": True}
    assert entries["suspend/rate"] == {"until": "2026-12-31T00:00:00.000000Z"}
    assert entries["blocks/192.0.2.7"]["expires"] == "2026-12-31T08:00:00.500000Z"
    assert entries_of(toml_of(entries)) == entries
    raised = {**entries, "limits": {"requests_per_minute": 9}}
    assert policy_of(raised).networks[0].limits.requests_per_minute == 9
    assert doubled(WHOLE) == ["block of 192.0.2.7 stands twice; the last one counts"]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"limit": {}}, "p: 'limit' is no key of an entry"),
        ({"limits/x": {}}, "'limits/x' is no key of an entry"),
        ({"networks": {}}, "'networks' is no key of an entry"),
        ({"networks/192.0.2.7/32": {}}, "must be written networks/192.0.2.7"),
        ({"zones/A.example": {}}, "must be written zones/a.example"),
        ({"exempt/rates/192.0.2.7": {}}, "module = 'rates' is none of"),
        ({"suspend/x": {}}, "module = 'x' is none of"),
        ({"partners/x": {}}, "'x' is not an IP address"),
        ({"blocks/192.0.2.7": {"note": 5}}, "p: blocks/192.0.2.7: note = 5 must be a text"),
        ({"blocks/192.0.2.7": {"note": {1, 2}}}, "note = [1, 2] must be a text"),
        ({"blocks/192.0.2.7": {"note": object()}}, "cannot be written as JSON"),
        ({"limits": ["x"]}, "limits: must be a table"),
        ({f"blocks/10.{n >> 16}.{n >> 8 & 255}.{n & 255}": {} for n in range(200_001)}, "more than 200000"),
    ],
)
def test_an_entry_that_is_none_is_named(entries: Any, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy_of(entries, place="p")
    assert str(caught.value).startswith("p: ")
    assert said in str(caught.value)


def test_ten_thousand_entries_are_read_in_time_and_one_more_at_once() -> None:
    entries: Entries = {f"exempt/rate/10.{n >> 8}.{n & 255}.0/24": {"note": f"n {n}"} for n in range(10_000)}
    began = process_time()
    policy_of(entries)
    cold = process_time() - began
    began = process_time()
    policy_of({**entries, "blocks/192.0.2.7": {"note": "spam"}})
    again = process_time() - began
    # 130 ms and 5 ms on a machine at rest; several times as long where coverage is measured
    assert cold < 1.5
    assert again < cold / 3


def test_warning_counts_are_shares_rounded_up() -> None:
    limits = Limits(warn_at=0.8)
    assert [limits.warning_count(limit) for limit in (1, 4, 10, 20, 30)] == [1, 4, 8, 16, 24]
    assert Limits(warn_at=0.0).warning_count(10) == 0
