"""Entries ↔ TOML ↔ policy for whatever a policy may hold, and the log of changes beside a plain reference."""

from ipaddress import IPv4Network
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import PolicyError
from streams.model.client import ClientPrefixes, parse_address, parse_network
from streams.model.instant import MICROSECONDS, Instant
from streams.model.modules import Greylist, Notify, Partner, Protocol, Reputation, Zone
from streams.model.policy import (
    MODULES,
    Block,
    Exemption,
    Limits,
    NetworkRule,
    Policy,
    Replies,
    Suspension,
)
from streams.model.schedule import Schedule
from streams.wire.policy_change import MAX_NUMBER
from streams.wire.policy_entries import (
    DEFAULT_ENTRIES,
    Entries,
    canonical,
    check_change,
    entries_of,
    policy_of,
    toml_of,
)
from streams.wire.policy_log import (
    COMMIT_KEY,
    Change,
    PolicyLog,
    decode_number,
    encode_change,
    encode_entry,
    encode_number,
)
from streams.wire.policy_settings import RANGES, RULES
from streams.wire.policy_toml import entries_from, read_policy, write_policy
from streams.wire.policy_words import differences
from tests.properties.histories import POLICIES

NETWORKS = st.sampled_from(
    ("192.0.2.0/24", "192.0.2.7", "0.0.0.0/0", "2001:db8::/32", "2001:db8::2", "198.51.100.0/25", "::/0")
).map(parse_network)
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.just(" "), max_size=20
).filter(str.isprintable)
ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)
INSTANTS = st.one_of(
    st.integers(0, 10_413_791_999).map(lambda second: Instant(second * MICROSECONDS)),
    st.integers(0, 10_413_791_999_999_999).map(Instant),
)
MODULE = st.sampled_from(MODULES)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "concurrent_connections": st.integers(1, 100),
        "requests_per_minute": st.integers(1, 10_000_000),
        "cool_down_s": st.integers(1, 90),
        "cool_down_growth": st.sampled_from((1.0, 1.5, 100.0)),
        "cool_down_max_s": st.integers(90, 10_000),
        "session_idle_s": st.integers(1, 43_200),
        "warn_at": st.floats(0, 1),
    },
)


def limits_of(row: dict[str, Any]) -> Limits:
    """The limits with these values."""
    return Limits(**row)


def changed(kind: type[Any], **also: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A table with any of its switches and whole numbers changed, within their ranges."""
    values: dict[str, st.SearchStrategy[Any]] = {}
    for name in kind.__struct_fields__:
        default = getattr(kind(), name)
        if isinstance(default, bool):
            values[name] = st.booleans()
        elif isinstance(default, int) and name in RANGES:
            low, high = (int(bound) for bound in RANGES[name])
            values[name] = st.integers(low, high)
    return st.fixed_dictionaries({}, optional=values | also).map(lambda row: kind(**row))


ZONES = st.builds(
    Zone,
    domain=st.sampled_from(("zen.spamhaus.org", "bl.example", "x-1.bl.example")),
    name=st.one_of(st.just(""), ASCII),
    weight=st.integers(0, 1000),
    codes=st.dictionaries(
        st.sampled_from(("127.0.0.2/32", "127.0.0.10/31", "127.0.0.0/8")).map(IPv4Network),
        st.integers(0, 1000),
        max_size=3,
    ).map(lambda codes: tuple(sorted(codes.items(), key=lambda it: (-it[0].prefixlen, it[0])))),
    enabled=st.booleans(),
    ipv6=st.booleans(),
    delisting=st.sampled_from(("", "https://check.spamhaus.org/", "http://[::1]:80/?ip=%s")),
)
SCHEDULES = st.builds(
    Schedule,
    name=st.sampled_from(("month-end", "Nacht 2", "März")),
    timezone=st.sampled_from(("UTC", "Europe/Berlin")),
    months=st.sets(st.integers(1, 12), max_size=3).map(lambda it: tuple(sorted(it))),
    days=st.sets(st.sampled_from((1, 31, -1, -31)), max_size=3).map(lambda it: tuple(sorted(it))),
    weekdays=st.sets(st.integers(0, 6), max_size=7).map(lambda it: tuple(sorted(it))),
    from_minute=st.integers(0, 1439),
    to_minute=st.integers(1, 1440),
    networks=st.lists(NETWORKS, max_size=2).map(tuple),
    overrides=st.integers(1, 500).map(lambda n: (("connections_per_minute", n), ("warn_at", 0.5))),
)


def listed(entry: st.SearchStrategy[Any], *names: str) -> st.SearchStrategy[Any]:
    """Up to three entries, each named once."""
    return st.lists(entry, max_size=3, unique_by=lambda it: tuple(getattr(it, name) for name in names)).map(
        tuple
    )


NOTED = {"note": TEXTS, "by": TEXTS, "expires": st.none() | INSTANTS}
WHOLE = st.builds(
    Policy,
    limits=LIMITS.map(limits_of),
    clients=st.builds(ClientPrefixes, ipv4=st.integers(8, 32), ipv6=st.integers(16, 128)),
    networks=listed(
        st.builds(
            NetworkRule,
            network=NETWORKS,
            name=TEXTS,
            internal=st.booleans(),
            limits=LIMITS.map(limits_of),
        ),
        "network",
    ),
    exemptions=listed(st.builds(Exemption, module=MODULE, network=NETWORKS, **NOTED), "module", "network"),
    blocks=listed(st.builds(Block, network=NETWORKS, **NOTED), "network"),
    replies=st.builds(Replies, connect_code=st.integers(500, 599), opening=ASCII, greylisted=ASCII),
    reputation=changed(
        Reputation,
        ttl_min_s=st.integers(1, 300),
        ttl_max_s=st.integers(300, 604_800),
        resolvers=st.sampled_from(((), ("127.0.0.1:5300", "[::1]:53", "dns.example", "::1"))),
    ),
    zones=listed(ZONES, "domain"),
    partners=listed(
        st.builds(
            Partner, address=st.sampled_from(("192.0.2.7", "2001:db8::1")).map(parse_address), name=TEXTS
        ),
        "address",
    ),
    greylist=changed(
        Greylist,
        delay_s=st.integers(1, 600),
        retry_window_s=st.integers(601, 86_400),
        no_retry_after_s=st.integers(601, 86_400),
    ),
    protocol=changed(Protocol),
    notify=changed(
        Notify,
        about=st.sampled_from((("block",), ("limit", "zone", "pipeline"))),
        timezone=st.sampled_from(("UTC", "Asia/Tokyo")),
    )
    | st.just(Notify(quiet_from="22:00", quiet_to="07:30")),
    suspensions=listed(st.builds(Suspension, module=MODULE, until=INSTANTS, note=TEXTS, by=TEXTS), "module"),
    schedules=listed(SCHEDULES, "name"),
    shadow=st.sets(st.sampled_from(RULES), max_size=3).map(lambda it: tuple(sorted(it))),
)
"""Policies with every table filled, their entries in any order."""


def in_order(policy: Policy) -> Policy:
    """The same policy with its entries in the order of their keys."""
    return policy_of(entries_from(policy))


@settings(max_examples=150, deadline=None)
@given(WHOLE)
def test_what_is_written_is_read_back(policy: Policy) -> None:
    entries = entries_from(policy)
    assert entries_of(toml_of(entries)) == entries
    assert canonical(entries) == entries
    again = read_policy(write_policy(policy))
    assert again == in_order(policy)
    assert again.version == in_order(policy).version
    for name in ("limits", "clients", "reputation", "greylist", "protocol", "notify", "replies"):
        assert getattr(again, name) == getattr(policy, name)
    for name in ("networks", "exemptions", "blocks", "zones", "partners", "suspensions", "schedules"):
        ours, theirs = getattr(again, name), getattr(policy, name)
        assert len(ours) == len(theirs)
        assert all(it in theirs for it in ours)


@settings(max_examples=100, deadline=None)
@given(POLICIES)
def test_the_engine_s_policies_are_read_back(policy: Policy) -> None:
    try:
        expected = in_order(policy)
    except PolicyError as error:
        # the engine must bear a schedule that no file may have
        assert "is under cool_down_s" in error.what
        return
    assert read_policy(write_policy(policy)) == expected


@settings(max_examples=100, deadline=None)
@given(WHOLE, st.randoms(use_true_random=False), st.data())
def test_sparse_entries_survive_and_order_does_not_matter(policy: Policy, chance: Any, data: Any) -> None:
    """Any keys left out that may be: the rest is read back, and makes the same policy in any order."""
    entries: Entries = {}
    needed = {"until", "connections_per_minute", "ttl_min_s", "ttl_max_s", "delay_s", "retry_window_s"}
    needed |= {"no_retry_after_s", "quiet_from", "quiet_to", "cool_down_s", "cool_down_max_s"}
    for key, row in entries_from(policy).items():
        kept = {name: it for name, it in row.items() if name in needed or data.draw(st.booleans())}
        if kept or "/" in key:
            entries[key] = kept
    assert entries_of(toml_of(entries)) == entries
    shuffled = list(entries.items())
    chance.shuffle(shuffled)
    assert policy_of(dict(shuffled)) == policy_of(entries)
    assert policy_of(dict(shuffled)).version == policy_of(entries).version
    wire = {key: msgspec.json.decode(encode_entry(row)) for key, row in entries.items()}
    assert policy_of(wire) == policy_of(entries)
    check_change(entries, entries)


@settings(max_examples=100, deadline=None)
@given(WHOLE, WHOLE)
def test_every_difference_is_said(before: Policy, after: Policy) -> None:
    old, new = entries_from(before), entries_from(after)
    lines = differences(old, new)
    differing = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
    assert (lines == []) == (differing == [])
    assert len(lines) >= len(differing)
    assert all(line.isprintable() for line in lines)
    assert differences(new, new) == []


# --- the log

KEYS = ("limits", "exempt/rate/192.0.2.7", "blocks/192.0.2.0/24", "suspend/rate")
ROWS: dict[str, st.SearchStrategy[Any]] = {
    "limits": st.integers(1, 3).map(lambda n: {"requests_per_minute": n}),
    "exempt/rate/192.0.2.7": st.sampled_from(({}, {"note": "a"}, {"note": "b"})),
    "blocks/192.0.2.0/24": st.sampled_from(({"note": "a"}, {"note": "b"})),
    "suspend/rate": st.just({"until": "2026-12-31T00:00:00.000000Z"}),
}
Record = tuple[str, bytes | None, int]


class Writer:
    """Reads, then writes its records one at a time: others write in between, and it may stop for ever."""

    def __init__(self, topic: list[Record], wanted: Entries, jump: int, stops_after: int) -> None:
        log = read(topic)
        rows = log.records_for(log.entries | wanted)
        self.change = Change(
            number=log.next_number + jump,
            after=log.number,
            version="",
            who="w",
            at=Instant(0),
            what="",
            entries=len(rows),
        )
        self.rows = rows
        commit = (COMMIT_KEY, encode_change(self.change), 0)
        self.records = [
            *(
                (key, None if row is None else encode_entry(row), self.change.number)
                for key, row in rows.items()
            ),
            commit,
        ][:stops_after]


def read(topic: list[Record]) -> PolicyLog:
    """The log as it stands."""
    log = PolicyLog()
    for key, value, number in topic:
        log.feed(key.encode(), value, decode_number(encode_number(number)))
    return log


def reference(topic: list[Record], writers: list[Writer]) -> tuple[int, dict[str, Any]]:
    """Each commit in turn: applied whole if it follows what holds; rows are the writer's own."""
    number, entries = 0, dict[str, Any]()
    by_commit = {encode_change(writer.change): writer for writer in writers}
    for key, value, _ in topic:
        if key == COMMIT_KEY and value is not None:
            writer = by_commit[value]
            if writer.change.after == number:
                number = writer.change.number
                for name, row in writer.rows.items():
                    entries.pop(name, None)
                    if row is not None:
                        entries[name] = row
    return number, entries


@st.composite
def topics(draw: st.DrawFn) -> tuple[list[Record], list[Writer]]:
    """What several writers at once leave behind, some of which died half way."""
    topic: list[Record] = []
    writers: list[Writer] = []
    waiting: list[list[Record]] = []
    jump = iter(range(1, 100))
    for _ in range(draw(st.integers(0, 14))):
        if draw(st.booleans()) or not waiting:
            names = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True))
            wanted = {name: draw(ROWS[name]) for name in names}
            # numbers of writers at the same time differ, as chance makes them in practice
            writer = Writer(topic, wanted, next(jump) * 1000, draw(st.sampled_from((1, 2, 9, 9, 9))))
            writers.append(writer)
            waiting.append(list(writer.records))
        else:
            turn = draw(st.integers(0, len(waiting) - 1))
            for _ in range(draw(st.integers(1, 4))):
                if waiting[turn]:
                    topic.append(waiting[turn].pop(0))
            if not waiting[turn]:
                del waiting[turn]
    for records in waiting:
        topic += records
    return topic, writers


@settings(max_examples=400, deadline=None)
@given(topics())
def test_the_log_is_each_accepted_change_whole(made: tuple[list[Record], list[Writer]]) -> None:
    topic, writers = made
    log = read(topic)
    number, entries = reference(topic, writers)
    assert (log.number, log.entries) == (number, entries)
    assert log.next_number > max([0, *(n for _, _, n in topic)])
    assert log.next_number <= MAX_NUMBER


@settings(max_examples=400, deadline=None)
@given(topics(), st.data())
def test_a_compacted_log_says_the_same_after_the_next_change(
    made: tuple[list[Record], list[Writer]], data: Any
) -> None:
    """Compaction may come at any time after a writer has tidied up what unfinished changes left."""
    topic, _ = made
    last = Writer(topic, {"limits": {"requests_per_minute": 9}}, 500_000, 99)
    topic = topic + last.records
    whole = read(topic)
    assert whole.number == last.change.number
    assert whole.pending_keys == frozenset()
    upto = data.draw(st.integers(0, len(topic)))
    latest = {key: place for place, (key, _, _) in enumerate(topic[:upto])}
    compacted = [it for place, it in enumerate(topic) if place >= upto or latest[it[0]] == place]
    again = read(compacted)
    assert (again.number, again.entries) == (whole.number, whole.entries)


def test_default_entries_are_the_default_policy() -> None:
    assert policy_of(DEFAULT_ENTRIES) == Policy()
