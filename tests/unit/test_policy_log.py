"""smtp.policy as a log: what is taken, what is not and why; and changes and remarks in words."""

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from streams.errors import InvalidValueError, PolicyError
from streams.model.instant import Instant, parse_instant
from streams.model.policy import MODULES
from streams.resources import schemas_folder
from streams.wire import policy_log
from streams.wire.policy_change import MAX_TEXTS
from streams.wire.policy_entries import (
    DEFAULT_ENTRIES,
    Entries,
    canonical,
    check_change,
    entries_of,
    policy_of,
)
from streams.wire.policy_log import (
    COMMIT_KEY,
    Change,
    PolicyLog,
    decode_change,
    decode_number,
    encode_change,
    encode_entry,
    encode_number,
)
from streams.wire.policy_remarks import folded, remarks
from streams.wire.policy_settings import LIMITS
from streams.wire.policy_tables import TABLES
from streams.wire.policy_toml import read_policy
from streams.wire.policy_words import differences
from tests.parts import ROOT

EVERYTHING = re.sub(
    r"^# ?(?=\[\[|\w+ = )",
    "",
    (ROOT / "deploy" / "policy.example.toml").read_text(encoding="utf-8"),
    flags=re.MULTILINE,
)
EXEMPT = "exempt/rate/203.0.113.0/24"
BLOCK = "blocks/192.0.2.7"


def commit(number: int, after: int, entries: int = 1, **also: Any) -> Change:
    """A change of one record, unless it says more."""
    texts: dict[str, Any] = {"version": "v", "who": "anna", "what": "", "at": Instant(0)} | also
    return Change(number=number, after=after, entries=entries, **texts)


def put(log: PolicyLog, number: int, rows: dict[str, Any]) -> None:
    """The records of a change, without its commit."""
    for key, row in rows.items():
        value = row if isinstance(row, bytes) or row is None else encode_entry(row)
        assert log.feed(key, value, number) is None


def make(log: PolicyLog, number: int, after: int, rows: dict[str, Any], **also: Any) -> Change | None:
    """A whole change."""
    put(log, number, rows)
    return log.feed(COMMIT_KEY, encode_change(commit(number, after, len(rows), **also)), 0)


def test_a_change_is_taken_when_its_commit_comes() -> None:
    log = PolicyLog()
    put(log, 1, {EXEMPT: {"note": "monitoring"}, "limits": {"requests_per_minute": 40}})
    assert (log.number, log.entries, log.pending_keys) == (0, {}, frozenset((EXEMPT, "limits")))
    change = commit(1, 0, 2)
    assert log.feed(b"change", encode_change(change), 0) == change
    assert (log.number, log.change, log.pending_keys) == (1, change, frozenset())
    assert log.policy().limits.requests_per_minute == 40
    before = log.entries
    assert make(log, 2, 1, {EXEMPT: None}) is not None
    assert EXEMPT in before
    assert log.entries == {"limits": {"requests_per_minute": 40}}
    assert log.next_number == 3
    assert not log.skipped


def test_a_change_that_was_never_finished_has_no_effect_and_is_tidied_up() -> None:
    log = PolicyLog()
    make(log, 1, 0, {EXEMPT: {}, BLOCK: {}})
    put(log, 2, {EXEMPT: None, "limits": {"requests_per_minute": 1}})
    assert log.records_for({EXEMPT: {}, "shadow": {"rules": []}}) == {
        BLOCK: None,
        EXEMPT: {},
        "limits": None,
        "shadow": {"rules": []},
    }
    rows = log.records_for({EXEMPT: {}})
    assert make(log, 3, 1, rows) is not None
    assert (log.entries, log.pending_keys, log.next_number) == ({EXEMPT: {}}, frozenset(), 4)


def test_of_two_at_once_the_first_commit_is_taken() -> None:
    log = PolicyLog()
    make(log, 10, 0, {BLOCK: {}})
    put(log, 12, {EXEMPT: {"note": "lost"}})
    assert make(log, 11, 10, {EXEMPT: {"note": "won"}}) is not None
    assert log.feed(COMMIT_KEY, encode_change(commit(12, 10)), 0) is None
    assert log.entries[EXEMPT] == {"note": "won"}
    assert log.skipped == {"lost race": 1}
    assert "change 12 by 'anna' is not taken: lost race" in log.trouble
    assert log.pending_keys == frozenset()
    put(log, 14, {EXEMPT: {"note": "lost"}})
    assert make(log, 13, 10, {BLOCK: None}) is None
    assert log.pending_keys == {EXEMPT, BLOCK}


def test_two_that_drew_the_same_number_are_both_refused() -> None:
    log = PolicyLog()
    make(log, 1, 0, {BLOCK: {}})
    put(log, 2, {EXEMPT: {}})
    assert make(log, 2, 1, {"limits": {"requests_per_minute": 1}}) is None
    assert log.skipped == {"entries of two writers": 1}
    assert (log.number, log.next_number) == (1, 3)


def test_a_record_that_a_producer_sent_twice_is_one() -> None:
    log = PolicyLog()
    put(log, 1, {EXEMPT: {}})
    assert make(log, 1, 0, {EXEMPT: {}}) is not None
    assert log.feed(COMMIT_KEY, encode_change(commit(1, 0)), 0) is None
    assert log.skipped == {"late commit": 1}


def test_a_compacted_log_is_taken_over() -> None:
    log = PolicyLog()
    put(log, 3, {EXEMPT: {}})
    put(log, 9, {"zones/bl.example": {}})
    assert make(log, 7, 6, {BLOCK: {}}) is not None
    assert log.entries == {EXEMPT: {}, BLOCK: {}}
    assert log.pending_keys == {"zones/bl.example"}
    assert log.feed(COMMIT_KEY, encode_change(commit(9, 7)), 0) is not None
    assert "zones/bl.example" in log.entries


def test_a_log_that_was_compacted_under_its_reader_is_taken_over() -> None:
    log = PolicyLog()
    make(log, 1, 0, {EXEMPT: {}})
    put(log, 2, {"partners/192.0.2.7": {}})
    assert make(log, 5, 4, {BLOCK: {}}) is not None
    assert log.entries == {EXEMPT: {}, "partners/192.0.2.7": {}, BLOCK: {}}


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (BLOCK, b"{", "unreadable entry"),
        (BLOCK, b"[]", "unreadable entry"),
        (BLOCK, b'{"note": "' + b"x" * 70_000 + b'"}', "unreadable entry"),
        (BLOCK, b"[" * 60_000, "unreadable entry"),
        (BLOCK, b"\xff\xfe", "unreadable entry"),
        ("zzz", b"{}", "unknown key"),
        ("blocks/192.0.2.7/32", b"{}", "unknown key"),
        ("blocks/" + "x" * 5000, b"{}", "unknown key"),
        (BLOCK, b'{"notes": ""}', "no policy"),
        (BLOCK, b'{"note": 5}', "no policy"),
        ("limits", b'{"cool_down_growth": 2, "cool_down_max_s": 5}', "no policy"),
    ],
)
def test_a_change_with_garbage_is_refused_as_a_whole(key: str, value: bytes, reason: str) -> None:
    log = PolicyLog()
    assert make(log, 1, 0, {"limits": {"requests_per_minute": 7}}) is not None
    assert make(log, 2, 1, {EXEMPT: {}, key: value}) is None
    assert (log.number, log.entries) == (1, {"limits": {"requests_per_minute": 7}})
    assert log.skipped[reason] >= 1
    assert log.trouble
    assert make(log, 3, 1, log.records_for({EXEMPT: {}})) is not None
    assert log.entries == {EXEMPT: {}}


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{}",
        b"null",
        b"x" * 70_000,
        b"[" * 60_000,
        encode_change(commit(2, 1)).replace(b'"after":1', b'"after":2'),
        encode_change(commit(2, 1)).replace(b'"number":2', b'"number":99999999999999999999'),
        encode_change(commit(2, 1)).replace(b"1970-01-01T00:00:00.000000Z", b"yesterday"),
        encode_change(commit(2, 1)).replace(b'"entries":1', b'"entries":-1'),
    ],
)
def test_a_commit_that_is_none_is_counted(value: bytes | None) -> None:
    log = PolicyLog()
    make(log, 1, 0, {EXEMPT: {}})
    assert log.feed(COMMIT_KEY, value, 0) is None
    assert log.skipped == {"unreadable commit": 1}
    assert log.number == 1


def test_records_without_a_change_and_late_ones_are_passed_over() -> None:
    log = PolicyLog()
    assert log.feed(None, None, 0) is None
    assert log.feed(EXEMPT, b"{}", 0) is None
    assert log.feed(EXEMPT, b"{}", 2**60) is None
    make(log, 5, 0, {BLOCK: {}})
    make(log, 6, 5, {BLOCK: None})
    put(log, 5, {EXEMPT: {}})
    assert log.skipped == {"no number of a change": 3, "late entry": 1}
    assert log.pending_keys == {EXEMPT}
    assert log.entries == {}


def test_numbers_out_of_reach_are_not_believed() -> None:
    log = PolicyLog()
    make(log, 5, 0, {BLOCK: {}})
    assert log.feed(EXEMPT, b"{}", 2**50) is None
    assert log.feed(COMMIT_KEY, encode_change(commit(2**50, 5)), 0) is None
    assert log.skipped == {"no number of a change": 1, "implausible number": 1}
    assert log.next_number == 6


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_log, "MAX_PENDING", 2)
    log = PolicyLog()
    put(log, 1, {BLOCK: {}, EXEMPT: {}})
    put(log, 2, {"limits": {}})
    assert log.skipped == {"too many entries wait": 1}
    assert make(log, 3, 0, {"limits": {}}) is None
    assert log.skipped["too many entries wait"] == 3
    assert log.feed(COMMIT_KEY, encode_change(commit(1, 0, 2)), 0) is not None
    monkeypatch.undo()
    assert make(log, 4, 1, log.records_for({BLOCK: {}})) is not None


def test_too_many_entries_are_no_change() -> None:
    entries: Entries = {f"blocks/10.{n >> 16}.{n >> 8 & 255}.{n & 255}": {} for n in range(200_001)}
    with pytest.raises(PolicyError, match="more than 200000 entries"):
        check_change(entries, [])


def test_garbage_in_a_compacted_log_costs_its_own_entry_only() -> None:
    log = PolicyLog()
    put(log, 2, {"blocks/192.0.2.9": b"{", EXEMPT: {}, "zones/bl.example": {"weight": -1}})
    assert make(log, 7, 6, {BLOCK: {}}) is not None
    assert log.entries == {EXEMPT: {}, BLOCK: {}}
    assert log.pending_keys == {"blocks/192.0.2.9", "zones/bl.example"}
    assert log.skipped == {"unreadable entry": 1, "invalid entry": 1}


@pytest.mark.parametrize(
    ("header", "number"),
    [
        (b"7", 7),
        (None, 0),
        (b"", 0),
        (b"x", 0),
        (b"-1", 0),
        (b"9" * 99, 0),
        (b"9" * 16, 0),
        ("²".encode(), 0),
    ],
)
def test_headers_are_numbers(header: bytes | None, number: int) -> None:
    assert decode_number(header) == number
    assert decode_number(encode_number(7)) == 7


def test_a_change_has_bounded_texts_and_is_read_back() -> None:
    change = commit(2, 1, who="a\udcff" * 999, note="n" * 999, what="w" * 9999)
    assert (len(change.who), len(change.note), len(change.what)) == (256, 256, 4096)
    assert decode_change(encode_change(change)) == change
    with pytest.raises(InvalidValueError):
        decode_change(b"{}")


def test_canonical_entries_have_one_spelling() -> None:
    given: Entries = {"blocks/192.0.2.7/32": {"expires": "2026-12-31"}, "limits": {}, "zones/A.example.": {}}
    assert canonical(given) == {BLOCK: {"expires": "2026-12-31T00:00:00.000000Z"}, "zones/a.example": {}}
    with pytest.raises(PolicyError, match="blocks/x"):
        canonical({"blocks/x": {}})


def test_differences_are_told_in_words() -> None:
    before = entries_of(
        '[limits]\nwarn_at = 0.8\n[[blocks]]\naddress = "192.0.2.7"\nnote = "spam"\n'
        '[[exemptions]]\nmodule = "rate"\naddress = "198.51.100.1"\n'
        '[[zones]]\ndomain = "bl.example"\n'
    )
    after = entries_of(
        "[limits]\nrequests_per_minute = 40\nconcurrent_connections = 11\nwarn_at = 0.8\n"
        '[[networks]]\ncidr = "192.168.1.0/24"\nname = "internal"\nconcurrent_connections = 50\n'
        "requests_per_minute = 100\nconnections_per_minute = 150\n"
        '[[exemptions]]\nmodule = "rate"\naddress = "203.0.113.0/24"\nnote = "monitoring"\n'
        "expires = 2026-12-31\n"
        '[[exemptions]]\nmodule = "rate"\naddress = "198.51.100.1"\nnote = "why"\n'
        '[[zones]]\ndomain = "bl.example"\ncodes = { "127.0.0.2" = 3 }\nweight = 1\n'
    )
    # no policy says such a note; a row that is read from an old record may
    after["exempt/rate/203.0.113.0/24"]["note"] = "monitoring\x1b[31m"
    assert differences(before, after) == [
        "limits: concurrent_connections 10 → 11",
        "limits: requests_per_minute    20 → 40",
        "network 192.168.1.0/24: internal true → false",
        "exemption from rate for 198.51.100.1: note none → why",
        "new exemption from rate for 203.0.113.0/24 (monitoring\\x1b[31m): "
        "expires 2026-12-31T00:00:00.000000Z",
        "removed block of 192.0.2.7 (spam)",
        "zone bl.example: weight 1, now written out",
        'zone bl.example: codes  none → { "127.0.0.2" = 3 }',
    ]
    assert differences(DEFAULT_ENTRIES, dict(DEFAULT_ENTRIES)) == []
    assert differences({"networks/10.0.0.0/8": {"warn_at": 0.5}}, {"networks/10.0.0.0/8": {}}) == [
        "network 10.0.0.0/8: warn_at 0.5 → as in [limits]"
    ]
    assert differences({"limits": {"cool_down_s": 60}}, {}) == [
        "limits: cool_down_s 60, no longer written out"
    ]
    assert differences({}, {"suspend/rate": {"until": "2026-12-31T00:00:00.000000Z", "by": "a"}}) == [
        "new suspension of rate: until 2026-12-31T00:00:00.000000Z, by a"
    ]


REMARKS = [
    ("", []),
    (
        "[[networks]]\ncidr = '10.0.0.0/8'\nname = 'x'",
        ["10.0.0.0/8 changes nothing: its limits are those of [limits]"],
    ),
    (
        "[[networks]]\ncidr = '10.0.0.0/8'\nwarn_at = 0\n[[networks]]\ncidr = '10.1.0.0/16'\nwarn_at = 0",
        ["10.1.0.0/16 changes nothing: its limits are those of [[networks]] 10.0.0.0/8, which holds it"],
    ),
    (
        "[[networks]]\ncidr = '10.0.0.0/8'\nwarn_at = 0\n[[networks]]\ncidr = '10.1.0.0/16'",
        [],
    ),
    (
        "[[exemptions]]\nmodule = 'rate'\naddress = '192.0.2.7'\nexpires = 2026-01-01",
        ["rate 192.0.2.7 expired 2026-01-01 00:00 UTC"],
    ),
    (
        "[[exemptions]]\nmodule = 'rate'\naddress = '192.0.2.7'\nexpires = 2026-06-05",
        ["rate 192.0.2.7 expires soon, 2026-06-05"],
    ),
    (
        "[[exemptions]]\nmodule = 'rate'\naddress = '192.0.2.7'\n"
        "[[exemptions]]\nmodule = 'rate'\naddress = '192.0.2.0/24'\n"
        "[[exemptions]]\nmodule = 'rate'\naddress = '0.0.0.0/0'\nexpires = 2026-12-31",
        [
            "rate 0.0.0.0/0 lets alone everybody who comes over IPv4",
            "rate 192.0.2.7 adds nothing: 192.0.2.0/24 is exempt from rate already",
        ],
    ),
    (
        "".join(f"[[blocks]]\naddress = '{it}'\n" for it in ("::/0", "16.0.0.0/4", "10.0.0.0/8")),
        [
            "16.0.0.0/4 is wide: it refuses 268,435,456 addresses, exempt or not",
            "::/0 refuses everybody who comes over IPv6, exempt or not",
        ],
    ),
    (
        "".join(
            f"[[exemptions]]\nmodule = 'rate'\naddress = '{it}'\n" for it in ("2000::/18", "2001:c000::/19")
        ),
        ["rate 2000::/18 is wide: it lets alone 2^110 addresses"],
    ),
    (
        "[[exemptions]]\nmodule = 'rate'\naddress = '192.0.2.7'\n[[blocks]]\naddress = '192.0.2.0/24'",
        ["rate 192.0.2.7 lies inside [[blocks]] 192.0.2.0/24: it is refused all the same"],
    ),
    (
        "[[exemptions]]\nmodule = 'rate'\naddress = '192.0.2.0/24'\n[[blocks]]\naddress = '192.0.2.7'\n"
        "[[blocks]]\naddress = '192.0.2.6/31'",
        [
            "192.0.2.6/31 refuses what is exempt from rate",
            "192.0.2.7 adds nothing but its note: 192.0.2.6/31 is blocked already",
            "192.0.2.7 refuses what is exempt from rate",
        ],
    ),
    (
        "[[exemptions]]\nmodule = 'greylist'\naddress = '192.0.2.7'\n"
        "[[exemptions]]\nmodule = 'dnsbl'\naddress = '192.0.2.7'",
        [
            "from dnsbl (1) let nobody off: there are no [[zones]]",
            "from greylist (1) let nobody off: [greylist] enabled = false",
        ],
    ),
    (
        "[[zones]]\ndomain = 'zen.spamhaus.org'\n[[zones]]\ndomain = 'xbl.spamhaus.org'\nweight = 0",
        ["xbl.spamhaus.org counts twice: zen.spamhaus.org holds it", "xbl.spamhaus.org never counts"],
    ),
    ("[reputation]\nthreshold = 2\n[[zones]]\ndomain = 'a.example'", ["threshold = 2 is never reached"]),
    (
        "[[zones]]\ndomain = 'a.example'\nenabled = false\n[[partners]]\naddress = '192.0.2.7'\n"
        "[[blocks]]\naddress = '192.0.2.7'",
        [
            "[[partners]] 192.0.2.7 is refused by [[blocks]] 192.0.2.7",
            "[[partners]] (1) are never looked up: every one of [[zones]] is switched off",
        ],
    ),
    (
        "[[suspensions]]\nmodule = 'rate'\nuntil = 2026-06-01T00:09:30Z\n"
        "[[suspensions]]\nmodule = 'dnsbl'\nuntil = 2026-06-01T00:00:00Z",
        ["dnsbl ended 2026-06-01 00:00 UTC", "rate is suspended until 2026-06-01 00:09 UTC, 10 minutes left"],
    ),
    (
        "[[schedules]]\nname = 'a'\nwarn_at = 0\nmonths = [2]\ndays = [30, -30]\n"
        "[[schedules]]\nname = 'b'\nwarn_at = 0\nmonths = [2]\ndays = [29]\nnetworks = ['10.0.0.0/8']",
        ["a is never in force", "b names 10.0.0.0/8, which is no [[networks]] entry"],
    ),
    (
        "[protocol]\nmissing_helo = false\n[shadow]\n"
        "rules = ['reputation', 'no_retry', 'protocol', 'hangup', 'rate']",
        [
            "[shadow] hangup has no effect: [protocol] hangup = false",
            "[shadow] no_retry has no effect: [greylist] enabled = false",
            "[shadow] protocol has no effect: every violation of [protocol] is switched off",
            "[shadow] reputation has no effect: there are no [[zones]]",
        ],
    ),
]


@pytest.mark.parametrize(("text", "said"), REMARKS)
def test_what_has_no_effect_is_remarked(text: str, said: list[str]) -> None:
    found = remarks(read_policy(text), parse_instant("2026-06-01T00:00:00Z"))
    assert len(found) == len(said), found
    for line, words in zip(found, said, strict=True):
        assert words in line


def test_notes_that_differ_in_the_module_are_one() -> None:
    policy = read_policy(
        "[[blocks]]\naddress = '192.0.2.0/24'\n"
        + "".join(f"[[exemptions]]\nmodule = '{it}'\naddress = '192.0.2.7'\n" for it in MODULES)
        + "[[exemptions]]\nmodule = 'rate'\naddress = '192.0.2.0/28'\n"
    )
    found = remarks(policy, 0)
    assert len([it for it in found if "192.0.2.7 lies inside" in it]) == 4
    lines = folded(found)
    assert [it.partition(" lies")[0] for it in lines if "192.0.2.7 lies inside" in it] == [
        "[[exemptions]] rate, dnsbl, greylist, protocol 192.0.2.7"
    ]
    assert "[[exemptions]] rate 192.0.2.7 adds nothing: 192.0.2.0/28 is exempt from rate already" in lines
    assert folded([]) == []


def test_what_a_terminal_would_obey_is_no_entry() -> None:
    log = PolicyLog()
    log.feed("blocks/192.0.2.7", encode_entry({"note": "x\x1b]0;pwned\x07"}), 1)
    assert log.feed(COMMIT_KEY, encode_change(commit(1, 0)), 1) is None
    assert log.number == 0
    assert "control character" in log.trouble


def test_an_entry_doubled_by_hand_is_remarked() -> None:
    policy = policy_of(DEFAULT_ENTRIES)
    twice = type(policy)(networks=policy.networks * 2)
    assert remarks(twice, 0) == ["[[networks]] 192.168.1.0/24 stands 2 times; the last one counts"]


def shipped() -> dict[str, Any]:
    """The schema as shipped."""
    found: dict[str, Any] = json.loads((schemas_folder() / "policy.v1.json").read_text(encoding="utf-8"))
    return found


def schema() -> Draft202012Validator:
    """Of the schema as shipped."""
    return Draft202012Validator(shipped())


def test_the_schema_is_that_of_the_records() -> None:
    whole = shipped()
    Draft202012Validator.check_schema(whole)
    assert whole["$id"] == "urn:goaway:schema:policy:v1"
    described = whole["$defs"]["commit"]
    assert list(described["properties"]) == list(Change.__struct_fields__)
    assert described["required"] == ["number", "after", "version", "who", "at", "what"]
    assert {
        name: it["maxLength"] for name, it in described["properties"].items() if "maxLength" in it
    } == MAX_TEXTS
    schema().validate(json.loads(encode_change(commit(2, 1, note="n"))))
    for row in entries_of(EVERYTHING).values():
        schema().validate(json.loads(encode_entry(row)))
    assert not schema().is_valid(json.loads(encode_change(commit(2, 1)).replace(b'"after":1', b'"after":-1')))
    assert not schema().is_valid([])


def test_every_key_of_every_table_is_in_the_schema() -> None:
    known = shipped()["$defs"]
    assert {table.key for table in TABLES} | {"commit", "instant", "limit_values"} == set(known)
    for table in TABLES:
        own = set(known[table.key]["properties"])
        limits = set(LIMITS) if "limit_values" in json.dumps(known[table.key]) else set()
        assert own | limits == set(table.keys), table.key
