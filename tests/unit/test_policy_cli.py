"""What the commands of the policy make of their arguments: times, CSV, keys, edits, errors. No Kafka."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cli.policy_csv import KINDS, Row, read_rows, write_rows
from streams.cli.policy_edits import (
    allowed,
    applied,
    denied,
    entry_and_key,
    exempted,
    imported,
    networks,
    removed,
    resumed,
    row_of,
    suspended,
    with_value,
)
from streams.cli.policy_options import operator
from streams.cli.policy_when import moment, span_s
from streams.errors import GoawayError, PolicyError, UsageError
from streams.model.client import parse_network
from streams.model.instant import MICROSECONDS, Instant, parse_instant, rfc3339
from streams.model.policy import MODULES
from streams.wire.policy_entries import DEFAULT_ENTRIES, policy_of

NOW = parse_instant("2026-03-04T12:00:00Z")
ROOT = Path(__file__).parents[2]
NO_KAFKA = "127.0.0.1:9"


def goaway(*arguments: str, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "GOAWAY_KAFKA": NO_KAFKA, "GOAWAY_DATA": "/nonexistent", **environ},
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("1h30m", 5400), ("7d", 604_800), ("2w", 1_209_600), ("45S", 45)],
)
def test_spans(text: str, seconds: int) -> None:
    assert span_s(text, flag="--for") == seconds


@pytest.mark.parametrize("text", ["", "0m", "10", "m", "-5m", "1.5h", "10 m", "999999w", "٣m", "7d "])
def test_what_is_no_span_is_said_with_the_flag(text: str) -> None:
    with pytest.raises(UsageError, match=r"--for.*10m"):
        span_s(text, flag="--for")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", "2026-03-11T12:00:00Z"),
        ("2026-12-31", "2026-12-31T00:00:00Z"),
        ("2026-12-31T18:00:00+01:00", "2026-12-31T17:00:00Z"),
    ],
)
def test_expiries(text: str, expected: str) -> None:
    assert moment(text, NOW, flag="--expires") == parse_instant(expected)


def test_an_expiry_that_is_over_or_none_is_an_error_and_the_past_is_asked_for_by_name() -> None:
    for text in ("2026-03-04", "2026-03-04T12:00:00Z", "tomorrow", "2026-13-01"):
        with pytest.raises(UsageError, match="--expires"):
            moment(text, NOW, flag="--expires")
    assert moment("2h", NOW, flag="TIME", past=True) == NOW - 7200 * MICROSECONDS
    assert moment("2026-03-04", NOW, flag="TIME", past=True) < NOW


CSV = (
    b"\xef\xbb\xbfAddress , Note\r\n"
    b"192.0.2.7,plain\r\n"
    b'198.51.100.0/24,"a, quoted ""note"""\r\n'
    b"\r\n"
    b"# a remark, as people leave them\r\n"
    b"2001:db8::/32\r\n"
    b"::ffff:203.0.113.9,mapped,\r\n"
)


def test_csv_as_spreadsheets_write_it() -> None:
    rows = read_rows(CSV, file="x.csv", at=NOW)
    assert [(row.line, str(row.network), row.note) for row in rows] == [
        (2, "192.0.2.7/32", "plain"),
        (3, "198.51.100.0/24", 'a, quoted "note"'),
        (6, "2001:db8::/32", ""),
        (7, "203.0.113.9/32", "mapped"),
    ]


def test_csv_without_a_heading_and_with_columns_of_its_own() -> None:
    assert [row.note for row in read_rows(b"192.0.2.7,first\n", file="x.csv", at=NOW)] == ["first"]
    rows = read_rows(
        b"note,as,address,expires\nwhy,deny,192.0.2.7,2026-12-31T00:00:00Z\n,exempt:dnsbl,192.0.2.8,\n",
        file="x.csv",
        at=NOW,
    )
    assert [(row.kind, row.note, row.expires) for row in rows] == [
        ("deny", "why", parse_instant("2026-12-31T00:00:00Z")),
        ("exempt:dnsbl", "", None),
    ]


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"192.0.2.7,a\n192.0.2.256,b\n", 2, "192.0.2.256"),
        (b"192.0.2.7\n\n10.0.0.1-10.0.0.6,c\n", 3, "10.0.0.1/32, 10.0.0.2/31, 10.0.0.4/31, 10.0.0.6/32"),
        (b"address,note\n10.0.0.1/24,host bits\n", 2, "host bits"),
        (b"192.0.2.7,a note, with a comma\n", 1, "in quotes"),
        (b"192.0.2.7,\xff\xfe\n", 1, "UTF-8"),
        (b'192.0.2.6,"two\nlines"\n', 1, "line break"),
        (b'192.0.2.6,ok\n192.0.2.7,"never closed\n192.0.2.8,x\n', 2, "is not CSV"),
        (b"192.0.2.7," + b"x" * 257 + b"\n", 1, "257 characters"),
        (b"192.0.2.7,nul\0\n", 1, "control character"),
        (b"as,address\nexempt,192.0.2.7\n", 2, "exempt:rate"),
        ("192.0.2.٧\n".encode(), 1, "not an address"),
        (b'"a\nb",x\n192.0.2.1\nwrong\n', 1, "line 4"),
        (b"address,note,expiry\n192.0.2.7,x,2027-01-01\n", 1, "'expiry' is not known; did you mean expires?"),
        (b"address,comment\n192.0.2.7,x\n", 1, "'comment' is not known; known are as, address, note"),
        (b"address,note,note\n192.0.2.7,x,y\n", 1, "column note stands twice"),
        (b"address,,note\n192.0.2.7,x,y\n", 1, "column 2 has no name"),
        (b"address,expires\n192.0.2.7,2020-01-01\n", 2, "expires: 2020-01-01T00:00:00.000000Z is over"),
        (b"address,expires\n192.0.2.7,soon\n", 2, "or write 2026-12-31T18:00:00Z, 2026-12-31 or 7d)"),
        (b"203.0.113.5-10,x\n", 1, "203.0.113.5/32, 203.0.113.6/31, 203.0.113.8/31, 203.0.113.10/32"),
    ],
)
def test_a_bad_row_is_named_by_its_line(content: bytes, line: int, said: str) -> None:
    with pytest.raises(PolicyError) as raised:
        read_rows(content, file="x.csv", at=NOW)
    assert f"line {line}: " in str(raised.value)
    assert said in str(raised.value)
    assert "nothing is applied" in str(raised.value)
    assert raised.value.exit_code == 3


def test_csv_takes_times_as_the_commands_do_and_empty_columns_at_the_end() -> None:
    rows = read_rows(b"address,expires,,\n192.0.2.7,2027-01-01,,\n192.0.2.8,7d,,\n", file="x.csv", at=NOW)
    assert [row.expires for row in rows] == [
        parse_instant("2027-01-01T00:00:00Z"),
        NOW + 7 * 86_400 * MICROSECONDS,
    ]


def test_a_bad_line_is_looked_at_by_a_command_that_a_shell_takes() -> None:
    for file, said in (("a b.csv", "sed -n 1p 'a b.csv'"), ("-", "mend line 1 of what is piped in")):
        with pytest.raises(PolicyError) as raised:
            read_rows(b"nothing\n", file=file, at=NOW)
        assert said in raised.value.try_next


def test_of_rows_for_one_address_the_last_counts() -> None:
    def after(content: bytes) -> set[str]:
        rows = read_rows(content, file="x.csv", at=NOW)
        return set(imported({}, rows, "exempt:rate", by="", note=""))

    exempt = {f"exempt/{module}/192.0.2.30" for module in MODULES}
    heading = b"as,address\n"
    assert after(heading + b"deny,192.0.2.30\nallow,192.0.2.30\n") == exempt
    assert after(heading + b"allow,192.0.2.30\ndeny,192.0.2.30\n") == {"blocks/192.0.2.30"}
    both = {"blocks/192.0.2.30", "exempt/rate/192.0.2.30"}
    assert after(heading + b"exempt:rate,192.0.2.30\ndeny,192.0.2.30\n") == both


def test_the_note_of_the_command_is_of_rows_without_one() -> None:
    rows = read_rows(b"192.0.2.7\n192.0.2.8,own\n", file="x.csv", at=NOW)
    after = imported({}, rows, "deny", by="ada", note="list of June")
    assert [row["note"] for row in after.values()] == ["list of June", "own"]


def test_ten_bad_rows_are_named_and_the_rest_counted() -> None:
    with pytest.raises(PolicyError) as raised:
        read_rows(b"nothing\n" * 25, file="x.csv", at=NOW)
    assert str(raised.value).count("line ") == 10
    assert "25 of 25 rows" in str(raised.value)
    assert "and 15 more" in str(raised.value)


def test_a_csv_without_rows_is_an_error() -> None:
    for content in (b"", b"address,note\n", b"\n\n"):
        with pytest.raises(PolicyError, match="no row"):
            read_rows(content, file="x.csv", at=NOW)


_NETWORKS = st.one_of(
    st.ip_addresses(v=4).map(lambda it: parse_network(str(it))),
    st.ip_addresses(v=6).map(lambda it: parse_network(str(it))),
    st.integers(0, 2**24 - 1).map(lambda it: parse_network(f"{it >> 16}.{it >> 8 & 255}.{it & 255}.0/24")),
)
_TEXTS = st.text(st.characters(categories=["L", "N", "P", "S"]) | st.just(" "), max_size=40).map(str.strip)
_ROWS = st.builds(
    Row,
    line=st.just(0),
    network=_NETWORKS,
    note=_TEXTS,
    kind=st.sampled_from(KINDS),
    expires=st.none() | st.integers(0, 4_000_000_000_000_000).map(Instant),
    by=_TEXTS,
)


@given(st.lists(_ROWS, min_size=1, max_size=20))
def test_what_is_exported_is_read_back(rows: list[Row]) -> None:
    read = read_rows(write_rows(rows).encode(), file="x.csv", at=-1)
    assert [
        (row.network, row.note, row.kind, row.expires, row.by) for row in read
    ] == [(row.network, row.note, row.kind, row.expires, row.by) for row in rows]  # fmt: skip


@given(st.lists(_ROWS, min_size=1, max_size=20))
def test_an_import_is_a_policy_and_leaves_what_was_there(rows: list[Row]) -> None:
    before = {**DEFAULT_ENTRIES, "limits": {"requests_per_minute": 40}}
    after = imported(before, rows, "exempt:rate", by="ada")
    policy = policy_of(after)
    assert policy.limits.requests_per_minute == 40
    last = rows[-1]
    if last.kind == "deny":
        assert last.network in [block.network for block in policy.blocks]
    else:
        modules = MODULES if last.kind == "allow" else (last.kind.removeprefix("exempt:"),)
        found = {entry.module for entry in policy.exemptions if entry.network == last.network}
        assert found >= set(modules)
    assert imported(after, rows, "exempt:rate", by="ada") == after


@given(st.binary(max_size=200))
def test_no_csv_breaks_the_reader(content: bytes) -> None:
    try:
        rows = read_rows(content, file="x.csv", at=NOW)
    except PolicyError:
        return
    policy_of(imported({}, rows, "deny", by=""))


ADDRESS = networks(["203.0.113.9"])


def test_allow_is_exempt_in_every_module_and_lifts_its_own_block_only() -> None:
    blocked = denied(DEFAULT_ENTRIES, networks(["203.0.113.9", "203.0.113.0/24"]), row_of(note="spam"))
    policy = policy_of(allowed(blocked, ADDRESS, row_of(note="sorry", by="ada")))
    assert [str(block.network) for block in policy.blocks] == ["203.0.113.0/24"]
    assert {entry.module for entry in policy.exemptions} == set(MODULES)
    assert {(entry.note, entry.by) for entry in policy.exemptions} == {("sorry", "ada")}


def test_exempt_replaces_the_entry_of_the_same_address() -> None:
    first = exempted(DEFAULT_ENTRIES, ("rate",), ADDRESS, row_of(note="old", expires=Instant(NOW)))
    policy = policy_of(exempted(first, ("rate",), ADDRESS, row_of(note="new")))
    assert [(entry.note, entry.expires) for entry in policy.exemptions] == [("new", None)]


def test_edits_alter_nothing_that_they_are_given() -> None:
    before = exempted(DEFAULT_ENTRIES, ("rate",), ADDRESS, row_of(note="old"))
    kept = {key: dict(row) for key, row in before.items()}
    exempted(before, ("rate",), ADDRESS, row_of(note="new"))
    denied(before, ADDRESS, {})
    removed(before, ["exempt/rate/203.0.113.9"])
    with_value(before, "exempt.rate.203.0.113.9.note", "other")
    assert before == kept


def test_suspend_and_resume() -> None:
    until = Instant(NOW + 600 * MICROSECONDS)
    stopped = suspended(DEFAULT_ENTRIES, ("rate", "dnsbl"), until=until, note="outage", by="ada")
    assert [(it.module, it.until, it.note) for it in policy_of(stopped).suspensions] == [
        ("dnsbl", until, "outage"),
        ("rate", until, "outage"),
    ]
    assert resumed(stopped, ("rate", "dnsbl")) == DEFAULT_ENTRIES
    whole = applied(stopped, {"limits": {"requests_per_minute": 30}})
    assert [it.module for it in policy_of(whole).suspensions] == ["dnsbl", "rate"]


def test_remove_takes_any_spelling_and_names_neighbours() -> None:
    before = exempted(DEFAULT_ENTRIES, ("rate",), ADDRESS, {})
    assert removed(before, ["exempt/rate/203.0.113.9/32"]) == DEFAULT_ENTRIES
    with pytest.raises(UsageError, match=r"Try: goaway policy remove exempt/rate/203\.0\.113\.9"):
        removed(before, ["exempt/rate/203.0.113.8"])
    before = exempted(before, ("rate",), networks(["203.0.113.7"]), {})
    with pytest.raises(UsageError) as raised:
        removed(before, ["exempt/rate/203.0.113.8"])
    assert "it has exempt/rate/203.0.113.9 and exempt/rate/203.0.113.7" in raised.value.what
    assert raised.value.try_next == "goaway policy remove exempt/rate/203.0.113.9"
    with pytest.raises(UsageError, match="no key of an entry"):
        removed(before, ["nonsense"])


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("limits.requests_per_minute", ("limits", "requests_per_minute")),
        ("networks.192.168.1.0/24.requests_per_minute", ("networks/192.168.1.0/24", "requests_per_minute")),
        ("networks/2001:db8::/32.name", ("networks/2001:db8::/32", "name")),
        ("exempt.rate.203.0.113.0/24.note", ("exempt/rate/203.0.113.0/24", "note")),
        ("zones.zen.spamhaus.org.enabled", ("zones/zen.spamhaus.org", "enabled")),
        ("blocks/203.0.113.9/32.note", ("blocks/203.0.113.9", "note")),
    ],
)
def test_keys_of_set(key: str, expected: tuple[str, str]) -> None:
    assert entry_and_key(key) == expected


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("limit.requests_per_minute", "goaway policy set limits.KEY VALUE"),
        ("limits.request_per_minute", "did you mean requests_per_minute"),
        ("limits", "is no key of limits"),
        ("networks.192.168.1.0/24", "is no key of networks"),
        ("networks.10.0.0.1/8.name", "host bits"),
        ("exempt.smtp.192.0.2.7.note", "none of rate, dnsbl, greylist, protocol"),
        ("", "begins with no table"),
    ],
)
def test_wrong_keys_of_set(key: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        entry_and_key(key)
    assert said in str(raised.value)


def test_values_of_set() -> None:
    after = DEFAULT_ENTRIES
    for key, value in (
        ("limits.requests_per_minute", "40"),
        ("limits.warn_at", "0.9"),
        ("greylist.enabled", "true"),
        ("notify.quiet_from", "22:00"),
        ("shadow.rules", '["greylist", "pipelining"]'),
        ("networks.10.0.0.0/8.name", "our own, all of it"),
        ("zones.zen.spamhaus.org.codes", '{ "127.0.0.2" = 3 }'),
    ):
        after = with_value(after, key, value)
    after = with_value(after, "notify.quiet_to", "06:00")
    policy = policy_of(after)
    assert (policy.limits.requests_per_minute, policy.limits.warn_at) == (40, 0.9)
    assert policy.greylist.enabled
    assert (policy.notify.quiet_from, policy.notify.quiet_to) == ("22:00", "06:00")
    assert policy.shadow == ("greylist", "pipelining")
    assert "our own, all of it" in [rule.name for rule in policy.networks]
    assert [weight for _, weight in policy.zones[0].codes] == [3]
    assert (
        policy_of(with_value(after, "limits.requests_per_minute", "default")).limits.requests_per_minute == 20
    )


def test_who_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert operator({"SUDO_USER": "ada"}) == "ada"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("getpass.getuser", lambda: "grace")
    assert operator({"SUDO_USER": "ada"}) == "grace"

    def nobody() -> str:
        raise KeyError("no name for this id")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert operator({}).startswith("uid ")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["exempt", "rate", "10.0.0.1-10.0.0.9"], 2, "10.0.0.2/31"),
        (["exempt", "smtp", "192.0.2.7"], 2, "rate"),
        (["exempt", "rate"], 2, "ADDRESS"),
        (["allow", "192.0.2.7", "--expires", "yesterday"], 2, "--expires 2026-12-31"),
        (["exempt", "rate", "192.0.2.7", "--expires", ""], 2, "--expires: '' is no time"),
        (["suspend", "rate", "--for", ""], 2, "--for: '' is not a span"),
        (["policy", "log", "--since", ""], 2, "--since: '' is no time"),
        (["policy", "set", "limits.requests_per_minute"], 2, "has no value"),
        (["policy", "set", "limits.warn_at", "0.5", "notify.quiet_from"], 2, "KEY VALUE KEY VALUE"),
        (["deny", "0.0.0.0/0"], 1, "everybody would be refused, exempt or not; nobody is there"),
        (["allow", "::/0", "192.0.2.7"], 1, "::/0 is every IPv6 address"),
        (
            ["exempt", "rate", "::/0", "0.0.0.0/0"],
            1,
            "0.0.0.0/0 and ::/0 are every address: rate would judge nobody",
        ),
        (["deny", "203.0.113.10-203.0.113.5"], 2, "ends before it begins. Try: 203.0.113.5/32"),
        (["policy", "apply", "/dev/null"], 3, "/dev/null is empty"),
        (["deny", "192.0.2.7", "--note", "two\nlines"], 2, "--note must be one line"),
        (["suspend", "rate", "--for", "soon"], 2, "--for 10m"),
        (["policy", "apply", "/nonexistent.toml"], 3, "ls -l /nonexistent.toml"),
        (["policy", "import", "/nonexistent.csv"], 3, "ls -l /nonexistent.csv"),
        (["policy", "import", "-", "--as", "exempt"], 2, "exempt:rate"),
        (["policy", "set", "limits.nonsense", "4"], 2, "known are"),
        (["policy", "at", "tomorrow"], 2, "TIME"),
        (["policy", "undo", "first"], 2, "NUMBER"),
        (["policy", "check", "/nonexistent.toml"], 3, "/nonexistent.toml"),
    ],
)
def test_errors_come_before_kafka_is_asked(arguments: list[str], code: int, said: str) -> None:
    done = goaway(*arguments)
    assert (done.returncode, said in done.stderr.decode()) == (code, True), done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_bad_row_in_standard_input_is_exit_code_3() -> None:
    done = goaway("policy", "import", "-", stdin=b"192.0.2.7,good\nbad,row\n")
    assert done.returncode == 3
    assert b"line 2: 'bad' is not an address or CIDR" in done.stderr


@pytest.mark.parametrize("text", [b"", b" \n\n", b"# all of it\n  # is a remark\n"])
def test_a_policy_that_says_nothing_is_not_applied(text: bytes) -> None:
    done = goaway("policy", "apply", "-", "--yes", stdin=text)
    assert done.returncode == 3
    assert b"standard input is empty: as a policy it would take out all that is in force" in done.stderr
    assert b"Try: " in done.stderr


def test_everybody_in_a_csv_is_asked_about() -> None:
    done = goaway("policy", "import", "-", "--as", "deny", stdin=b"192.0.2.7\n0.0.0.0/0\n")
    assert done.returncode == 1
    assert b"rows of - make it deny" in done.stderr


def test_a_check_that_fails_names_the_file_and_not_itself_alone(tmp_path: Path) -> None:
    file = tmp_path / "my policy.toml"
    for text in ("[limits]\ncool_down_s = -5\n", "[limits", "[notify]\ndigest_s = -1\n"):
        file.write_text(text)
        done = goaway("policy", "check", str(file))
        assert done.returncode == 3
        assert f"Try: mend it, then goaway policy check '{file}'" in done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ["exempt", "rate", "192.0.2.7"],
        ["unblock", "192.0.2.7"],
    ],
)
def test_kafka_away_is_said(arguments: list[str]) -> None:
    done = goaway(*arguments)
    assert done.returncode == 4
    assert NO_KAFKA in done.stderr.decode()


def test_check_says_what_stands_twice_and_json_carries_it(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('[[blocks]]\naddress = "192.0.2.7"\n' * 2)
    assert b"stands twice" in goaway("policy", "check", str(file)).stdout
    assert b'"remarks": ["' in goaway("policy", "check", str(file), "--json").stdout
    with pytest.raises(GoawayError):
        networks(["192.0.2.300"])


def test_show_lists_the_keys_that_remove_takes(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('networks = []\n[[exemptions]]\nmodule = "rate"\naddress = "192.0.2.7/32"\n')
    shown = goaway("policy", "show", str(file), "--keys")
    assert shown.stdout.decode().split() == ["exempt/rate/192.0.2.7"]
    assert rfc3339(NOW).startswith("2026-03-04")
