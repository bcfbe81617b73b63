"""What a search is made of, without a database: ids, cursors, keys of an address, whose block stood."""

from ipaddress import ip_network
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.audit.hits import Cursor, block_at, instant_of_short, parse_cursor, short_id
from streams.audit.remedies import would_have_passed
from streams.audit.search import pattern
from streams.audit.stored import bounds, clients_holding, holds_mapped, keys_around
from streams.audit.story import Story, change_of, entry_key, one_session
from streams.cli.tables import cell, spreadsheet
from streams.errors import InvalidValueError
from streams.model.client import Address, Client, ClientPrefixes, parse_address, parse_network
from streams.model.decision import Decision, Evidence, Trigger
from streams.model.event import Event, EventKind
from streams.model.instant import Instant, parse_instant
from streams.wire.policy_entries import Entries
from streams.wire.policy_log import Change
from streams.wire.postfix.ours import MAX_OURS, cannot_be_told, spoken_by

AT: Final = parse_instant("2026-11-05T10:00:00Z")
S: Final = 1_000_000


def event(id_: str, kind: EventKind = "refusal", at: int = AT, code: int = 551, detail: str = "") -> Event:
    return Event(
        id=id_,
        at=Instant(at),
        kind=kind,
        client=Client("192.0.2.7"),
        address=Address("192.0.2.7"),
        session="mx/1",
        host="mx",
        code=code,
        detail=detail,
    )


def block(
    id_: str, at: int, until: int | None, reason: str = "", trigger: Trigger = "rate", network: str = ""
) -> Decision:
    return Decision(
        id=id_,
        at=Instant(at),
        until=None if until is None else Instant(until),
        action="block",
        client=Client("192.0.2.7"),
        address=Address("192.0.2.7"),
        trigger=trigger,
        rule="requests_per_minute",
        code=551,
        reason=reason,
        evidence=Evidence(count=21, limit=20, window_s=60, network=network),
        policy="v",
        event="e",
        session="mx/1",
        host="mx",
    )


@given(st.integers(0, 10**16), st.text("0123456789abcdef.", min_size=1, max_size=18))
def test_a_short_id_names_its_instant_and_a_cursor_its_place(at: int, whole: str) -> None:
    assert instant_of_short(short_id(at, whole)) == at
    assert parse_cursor(str(Cursor(at, whole))) == Cursor(at, whole)


@pytest.mark.parametrize("text", ["", "x", "-", "a-", "é-1", "1234567890123-x", "a b-x", "x-" + "y" * 65])
def test_what_is_no_cursor(text: str) -> None:
    with pytest.raises(InvalidValueError):
        parse_cursor(text)


@pytest.mark.parametrize("text", ["0123456789abcdef", "abc", "zz-12345", "Z-1234", "-1234", "é-1234"])
def test_what_is_no_short_id(text: str) -> None:
    assert instant_of_short(text) is None


@given(st.ip_addresses(), st.integers(8, 32), st.integers(16, 128))
def test_every_key_that_an_address_can_be_counted_under_is_known(address: object, v4: int, v6: int) -> None:
    own = parse_address(str(address))
    client = ClientPrefixes(ipv4=v4, ipv6=v6).client_of(own)
    assert client in clients_holding(parse_network(own))


@given(st.ip_addresses(v=4), st.integers(24, 32), st.integers(8, 32), st.data())
def test_keys_of_a_network_are_those_of_its_addresses(
    address: object, length: int, v4: int, data: st.DataObject
) -> None:
    network = ip_network(f"{address}/{length}", strict=False)
    inside = network[data.draw(st.integers(0, network.num_addresses - 1))]
    client = ClientPrefixes(ipv4=v4).client_of(parse_address(str(inside)))
    assert client in clients_holding(network)


def test_large_networks_have_too_many_keys() -> None:
    assert clients_holding(parse_network("192.0.2.0/23")) == []
    assert bounds(parse_network("192.0.2.0/23")) == ("::ffff:192.0.2.0", "::ffff:192.0.3.255")
    assert bounds(parse_network("2001:db8::/64")) == ("2001:db8::", "2001:db8::ffff:ffff:ffff:ffff")


@given(st.ip_addresses(), st.data())
def test_keys_around_a_network_are_those_that_hold_it(address: object, data: st.DataObject) -> None:
    bits = 32 if "." in str(address) else 128
    network = ip_network(f"{address}/{data.draw(st.integers(16, bits))}", strict=False)
    keys = keys_around(network)
    assert len(keys) == min(network.prefixlen, bits - 1) - (8 if bits == 32 else 16) + 1
    assert all(network.subnet_of(ip_network(it)) for it in keys)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("network", "holds"), [("::/0", True), ("::/64", True), ("2001:db8::/32", False), ("0.0.0.0/0", False)]
)
def test_which_networks_have_ipv4_within_their_bounds(network: str, holds: bool) -> None:
    assert holds_mapped(parse_network(network)) is holds


@pytest.mark.parametrize(
    ("text", "made"),
    [("a", "%a%"), ("a*b", "a%b"), ("100%", "%100\\%%"), ("a_b", "%a\\_b%"), ("\\", "%\\\\%"), ("*", "%")],
)
def test_patterns_take_a_star_for_anything_and_nothing_else(text: str, made: str) -> None:
    assert pattern(text) == made


@pytest.mark.parametrize(
    ("detail", "trigger"),
    [
        ("551 5.7.1 <x[192.0.2.7]>: Client host rejected: Go away: exceeded connection rate limit", "rate"),
        ("571 5.7.1 Go away: IP listed in DNSBL: [Spamhaus]", "reputation"),
        ("451 4.7.1 Go away: greylisted, retry in 600 s", "greylist"),
        ("571 5.7.1 Go away: greylist policy: no retry", "greylist"),
        ("551 5.7.1 Go away: SMTP protocol violation: missing HELO", "protocol"),
        ("551 5.7.1 Go away: blocked by administrator: spam", "blocklist"),
        ("571 5.7.1 <DATA>: Data command rejected: Go away: IP listed in DNSBL: [Z]", "reputation"),
        ("551 5.7.1 <x[192.0.2.7]>: Client host rejected: Go away: another text", "other"),
        ("550 5.1.1 User unknown", ""),
        ("exceeded connection rate limit", ""),
        ("504 5.5.2 <Go away: x>: Helo command rejected: need fully-qualified hostname", ""),
        ("header Subject: Go away: exceeded connection rate limit from x[192.0.2.7]: 5.7.1 no", ""),
    ],
)
def test_the_text_says_who_refused(detail: str, trigger: str) -> None:
    assert spoken_by(event("x", detail=detail)) == trigger
    assert spoken_by(event("x", detail=detail, code=0)) == ""


@pytest.mark.parametrize(
    ("detail", "helo", "unknown"),
    [
        ("551 5.7.1 <x>: Client host rejected: Go away: blocked by administrator", "x", False),
        ("551 5.7.1 <x>: Client host rejected: Go away: blocked by administrator", "Go away: x", True),
        ("504 5.5.2 <Go away: x>: Helo command rejected: need fully-qualified hostname", "x", True),
        ("550 5.1.1 <x>: Recipient address rejected: unknown", "Go away: x", False),
        ("550 5.1.1 <x>: Recipient address rejected: unknown", "x" * MAX_OURS, True),
        ("550 " + "x" * MAX_OURS, "x", True),
    ],
)
def test_whose_words_cannot_be_told(detail: str, helo: str, unknown: bool) -> None:
    assert cannot_be_told(replace(event("x", detail=detail), helo=helo)) is unknown
    assert not cannot_be_told(replace(event("x", detail=detail, code=0), helo=helo))


def test_the_block_behind_another_opening_is_the_one_whose_reason_is_logged() -> None:
    newest = block("l", AT - 5 * S, None, "IP listed in DNSBL: [Z]", "reputation")
    rate = block("r", AT - 10 * S, None, "exceeded connection rate limit")
    assert block_at([newest, rate], event("x", detail="551 No: exceeded connection rate limit")) is rate


@pytest.mark.parametrize(
    ("detail", "current", "words", "command"),
    [
        ("551 Go away: exceeded connection rate limit", None, "let alone by rate", "goaway exempt rate"),
        ("551 Go away: IP listed in DNSBL: [Z]", {}, "let alone by dnsbl", "goaway exempt dnsbl"),
        ("451 Go away: greylisted, retry in 600 s", {}, "let alone by greylist", "goaway exempt greylist"),
        ("551 Go away: SMTP protocol violation: x", {}, "let alone by protocol", "goaway exempt protocol"),
        (
            "551 Go away: exceeded connection rate limit",
            {"exempt/rate/192.0.2.0/24": {}},
            "exempt from rate by 192.0.2.0/24",
            "",
        ),
        ("551 Go away: blocked by administrator", {}, "no entry of its block list", ""),
        ("551 Go away: blocked by administrator", None, "no entry in the block list", ""),
        ("551 Go away: another text", {}, "by what is not known", ""),
        ("504 <Go away: x>: Helo command rejected: no", {}, "whose words these are cannot be told", ""),
        ("504 <Go away: x>: Helo command rejected: no", None, "whose words these are cannot be told", ""),
        ("550 user unknown", {"blocks/192.0.2.7": {}}, "the MTA refused by its own rules", ""),
    ],
)
def test_what_lets_a_refusal_through_whose_decision_is_not_stored(
    detail: str, current: Entries | None, words: str, command: str
) -> None:
    [(said, proposed)] = would_have_passed(told(None, event("x", detail=detail), current), AT)
    assert words in said and proposed.startswith(command) and bool(proposed) == bool(command)
    if command.startswith("goaway exempt"):
        assert proposed == f"{command} 192.0.2.7"


@pytest.mark.parametrize(
    "detail", ["551 Go away: another text", "504 <Go away: x>: Helo command rejected: no"]
)
def test_an_entry_that_blocks_is_named_where_it_is_not_known_what_refused(detail: str) -> None:
    found = would_have_passed(told(None, event("x", detail=detail), {"blocks/192.0.2.0/24": {}}), AT)
    assert [command for _, command in found] == ["", "goaway policy remove blocks/192.0.2.0/24"]


def test_the_block_that_stood_is_the_one_whose_reason_is_logged() -> None:
    rate = block("r", AT - 10 * S, AT + 10 * S, "exceeded connection rate limit")
    listed = block("l", AT - 5 * S, None, "IP listed in DNSBL: [Z]", "reputation")
    old = block("o", AT - 99 * S, AT, "exceeded connection rate limit")
    later = block("n", AT + 1, None, "exceeded connection rate limit")
    newest_first = [later, listed, rate, old]
    refused = event("x", detail="Go away: exceeded connection rate limit")
    assert block_at(newest_first, refused) is rate
    assert block_at(newest_first, event("x", detail="Go away: other words")) is listed
    assert block_at([old, later], refused) is None  # one has ended at this very instant, one has not begun
    assert block_at(newest_first, event("x", code=451, detail="Go away: greylisted")) is None


def test_a_session_ends_where_its_process_serves_the_next() -> None:
    kinds: tuple[EventKind, ...] = (
        *("connect", "mail", "disconnect", "message"),
        *("connect", "mail", "mail", "disconnect", "connect", "refusal"),
    )
    events = [event(str(place), kind, AT + place) for place, kind in enumerate(kinds)]
    ids = [[it.id for it in one_session(events, str(at))] for at in range(len(events))]
    assert ids[0] == ids[1] == ids[2] == ["0", "1", "2"]
    assert ids[4] == ids[5] == ids[6] == ids[7] == ["4", "5", "6", "7"]
    assert ids[8] == ids[9] == ["8", "9"]
    assert one_session(events, "absent") == []


def told(decision: Decision | None, happened: Event | None = None, current: Entries | None = None) -> Story:
    key = entry_key(decision) if decision else ""
    return Story(happened, decision, True, (), (), "v", key, None, {}, None, current)


def remedies(decision: Decision, current: Entries | None) -> tuple[str, list[str]]:
    """The first in words, and every command."""
    found = would_have_passed(told(decision, current=current), AT)
    return found[0][0], [command for _, command in found if command]


def test_what_would_have_let_it_through_names_the_entry_that_set_the_limit() -> None:
    commands = [it for _, it in would_have_passed(told(block("r", AT, None, network="192.0.2.0/24")), AT)]
    assert commands == [
        "goaway policy set networks.192.0.2.0/24.requests_per_minute 25",
        "goaway exempt rate 192.0.2.7",
    ]
    commands = [it for _, it in would_have_passed(told(block("r", AT, None)), AT)]
    assert commands[0] == "goaway policy set limits.requests_per_minute 25"
    assert would_have_passed(told(None, event("x", code=550)), AT)[0][1] == ""
    assert would_have_passed(told(None, event("x", "connect", code=0)), AT) == []
    release = replace(block("r", AT, None), action="release", rule="forgotten")
    assert would_have_passed(told(release), AT) == []


def test_no_command_makes_a_limit_smaller_than_it_is_now() -> None:
    judged = block("r", AT, None)  # 21 counted, limit 20
    words, commands = remedies(judged, {"limits": {"requests_per_minute": 40}})
    assert (words, commands) == (
        "the policy in force now: its requests_per_minute of 40 allows this",
        [],
    )
    assert remedies(judged, {"limits": {"requests_per_minute": 21}})[1] == []
    words, commands = remedies(judged, {"limits": {"requests_per_minute": 12}})
    assert "(it is 12 now)" in words
    assert commands[0] == "goaway policy set limits.requests_per_minute 25"
    network: Entries = {"limits": {"requests_per_minute": 40}, "networks/192.0.2.0/24": {}}
    assert remedies(judged, network)[1] == []
    network["networks/192.0.2.0/24"] = {"requests_per_minute": 5}  # names its entry of now, not that of then
    assert remedies(judged, network)[1][0] == "goaway policy set networks.192.0.2.0/24.requests_per_minute 25"
    assert "no change is on record" in remedies(judged, None)[0]
    assert "no change is on record" not in remedies(judged, {})[0]  # a policy of defaults alone


def test_a_limit_that_a_schedule_sets_is_raised_there() -> None:
    night: Entries = {
        "limits": {"requests_per_minute": 40},
        "schedules/always": {"requests_per_minute": 5},
    }
    words, commands = remedies(block("r", AT, None), night)
    assert "it is 40, but not while schedules.always is in force" in words
    assert commands[0] == "goaway policy set schedules.always.requests_per_minute 25"


@pytest.mark.parametrize(
    ("trigger", "rule", "current", "words"),
    [
        ("rate", "requests_per_minute", {"exempt/rate/192.0.2.7": {}}, "exempt from rate by 192.0.2.7"),
        ("rate", "requests_per_minute", {"shadow": {"rules": ["rate"]}}, "in shadow"),
        ("reputation", "zen.example", {"limits": {}}, "no DNSBL is asked any more"),
        ("greylist", "no_retry", {"greylist": {"enabled": False}}, "greylisting is switched off"),
        ("protocol", "missing_helo", {"protocol": {"missing_helo": False}}, "missing_helo is switched off"),
        ("blocklist", "", {"limits": {}}, "no entry of its block list"),
    ],
)
def test_what_is_allowed_by_now_needs_no_command(
    trigger: Trigger, rule: str, current: Entries, words: str
) -> None:
    network = "192.0.2.0/24" if trigger == "blocklist" else ""
    decision = replace(block("r", AT, None, trigger=trigger, network=network), rule=rule)
    said, commands = remedies(decision, current)
    assert words in said and commands == []
    assert remedies(decision, None)[1]


def test_a_block_of_the_list_is_removed_by_its_entry_of_now() -> None:
    listed = replace(block("b", AT, None, trigger="blocklist", network="192.0.2.7"), rule="")
    assert remedies(listed, {"blocks/192.0.2.0/24": {}})[1] == ["goaway policy remove blocks/192.0.2.0/24"]


def test_the_change_that_decided_is_known_by_its_version() -> None:
    def change(number: int, version: str, at: int) -> Change:
        return Change(
            number=number, after=number - 1, version=version, who="a", at=Instant(at), what="", entries=1
        )

    made = [("a", 10), ("b", 20), ("a", 30), ("c", 40)]
    history = [change(number, *it) for number, it in enumerate(made, 1)][::-1]
    for version, at, number in (
        ("c", 5, 4),  # its lines were shipped later
        ("c", 39, 4),  # the clock of who changed it is ahead
        ("b", 99, 2),  # a worker had not read the next one yet
        ("a", 25, 1),
        ("a", 35, 3),
        ("a", 5, 1),
        ("unknown", 25, 2),
        ("", 35, 3),  # nothing was decided
    ):
        found = change_of(history, version, at)
        assert found is not None and found.number == number, (version, at)
    assert change_of(history, "unknown", 5) is None
    assert change_of([], "a", 5) is None


def test_remote_text_is_obeyed_by_nothing() -> None:
    assert cell("a\x1b[31m\n\u202eb") == "a\\x1b[31m\\n\\u202eb"
    assert len(cell("x" * 999)) == 200
    for text in ("=1+1", "+1", "-1", "@x", "\tx", "\rx", " =1", "＝1", "＋1", "－1", "＠x"):
        assert spreadsheet(text) == f"'{text}"
    for text, disarmed in (
        ("x;=cmd|' /C calc'!A0", "x;'=cmd|' /C calc'!A0"),
        ("x;＠y;+1", "x;'＠y;'+1"),
        ("x\t-1", "x\t'-1"),
        ("x\n=1", "x\n'=1"),
        ('x; "@y', "x;' \"@y"),
        ("a=b; c-d;e", "a=b; c-d;e"),
    ):
        assert spreadsheet(text) == disarmed
    assert (spreadsheet(-1), spreadsheet("a=b"), spreadsheet(None), spreadsheet(True)) == (
        "-1",
        "a=b",
        "",
        "yes",
    )
