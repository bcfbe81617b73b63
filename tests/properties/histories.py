"""Histories and policies to try the engine on: few clients, small limits, times at the windows' ends."""

from ipaddress import IPv4Network
from typing import Any

from hypothesis import strategies as st

from streams.model.client import ClientPrefixes, parse_address, parse_network
from streams.model.event import Event, EventKind
from streams.model.instant import Instant
from streams.model.modules import VIOLATIONS, Greylist, Protocol, Reputation, Zone
from streams.model.policy import MODULES, Block, Exemption, Limits, NetworkRule, Policy, Suspension
from streams.model.schedule import Schedule
from streams.wire.policy_settings import RULES

START = 1_678_748_400_000_000
"""2023-03-13T23:00:00Z, a Monday: an hour before midnight in UTC, at midnight in Berlin."""
ADDRESSES = ("192.0.2.7", "192.0.2.8", "198.51.100.1", "2001:db8::1", "2001:db8::2", "2001:db8:1::1")
NETWORKS = ("192.0.2.0/24", "192.0.2.7", "0.0.0.0/0", "2001:db8::/32", "2001:db8::2")
COUNTED: tuple[EventKind, ...] = ("connect", "connect", "connect", "mail", "mail", "disconnect", "helo")
SPECIAL: tuple[EventKind, ...] = (
    "rcpt",
    "rcpt",
    "message",
    "message",
    "violation",
    "violation",
    "reputation",
    "reputation",
    "reputation",
)
SELDOM: tuple[EventKind, ...] = ("learnt", "forget", *SPECIAL, *SPECIAL)
KINDS = COUNTED + SPECIAL + SPECIAL

SENDERS = ("a@example.org", "a+tag@example.org", "b@example.net", "")
RECIPIENTS = ("to@example.com", "too@example.com")
OURS = "Go away: greylisted, retry in 600 s"
ZONES = ("bl.example", "zen.example", "off.example", "other.example")
CODES = ("127.0.0.2", "127.0.0.3,127.0.0.10", "127.255.255.254", "127.255.255.254,127.0.0.2", "192.0.2.1")
ERRORS = ("127.255.255.252", "127.255.255.254,127.255.255.255", "10.0.0.1", "", "what, ever", "::1")

SMALL = st.integers(1, 4)
LIMITS = st.builds(
    Limits,
    concurrent_connections=SMALL,
    requests_per_minute=SMALL,
    connections_per_minute=st.integers(1, 6),
    cool_down_s=st.sampled_from((1, 30, 60, 90)),
    cool_down_growth=st.sampled_from((1.0, 1.5, 2.0)),
    cool_down_max_s=st.sampled_from((90, 200, 3600)),
    repeat_within_s=st.sampled_from((0, 60, 3600)),
    session_idle_s=st.sampled_from((5, 60, 1800)),
    warn_at=st.sampled_from((0.0, 0.5, 0.8, 1.0)),
)
OFTEN_NOT = st.sampled_from((False, False, True))
CIDRS = st.sampled_from(NETWORKS).map(parse_network)
SOON = st.integers(0, 200).map(lambda s: Instant(START + s * 1_000_000))
ENDS = st.one_of(st.none(), SOON)


def few(rows: st.SearchStrategy[Any], most: int, **options: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    """None as often as some."""
    return st.one_of(st.just(()), st.lists(rows, min_size=1, max_size=most, **options).map(tuple))


SCHEDULES = st.builds(
    Schedule,
    name=st.just("s"),
    timezone=st.sampled_from(("UTC", "Europe/Berlin", "America/New_York")),
    months=st.sampled_from(((), (3,), (4,))),
    days=st.sampled_from(((), (13,), (14, -1), (-19,), (-18, 31))),
    weekdays=st.sampled_from(((), (0,), (1, 6))),
    from_minute=st.sampled_from((0, 1379, 1380, 1381, 1439)),
    to_minute=st.sampled_from((1, 2, 61, 1382, 1440)),
    networks=st.sampled_from(((), (), (parse_network("192.0.2.0/24"),))),
    overrides=st.sampled_from(
        (
            (("requests_per_minute", 8),),
            (("concurrent_connections", 1), ("warn_at", 0.5)),
            (("cool_down_s", 600), ("session_idle_s", 10)),
        )
    ),
)
ZONE_ROWS = st.tuples(
    st.builds(Zone, domain=st.just("bl.example"), weight=st.integers(1, 2)),
    st.builds(
        Zone,
        domain=st.just("zen.example"),
        name=st.just("Zen"),
        codes=st.sampled_from(
            (
                (),
                ((IPv4Network("127.0.0.3/32"), 2), (IPv4Network("127.0.0.0/24"), 1)),
                ((IPv4Network("127.0.0.10/32"), 3),),
            )
        ),
    ),
    st.builds(Zone, domain=st.just("off.example"), enabled=st.booleans()),
)
REPUTATION = st.builds(
    Reputation,
    threshold=st.integers(1, 3),
    ttl_min_s=st.sampled_from((1, 300, 5000)),
    ttl_max_s=st.sampled_from((5000, 86_400)),
    wait_ms=st.sampled_from((0, 500)),
    internal=st.booleans(),
)
GREYLIST = st.builds(
    Greylist,
    enabled=st.sampled_from((True, True, True, False)),
    delay_s=st.sampled_from((1, 30, 60)),
    retry_window_s=st.sampled_from((120, 14_400)),
    learnt_s=st.sampled_from((600, 200_000)),
    no_retry_count=st.integers(1, 3),
    no_retry_after_s=st.sampled_from((61, 61, 3000)),
    no_retry_block_s=st.sampled_from((90, 9000, 200_000)),
    internal=st.booleans(),
)
PROTOCOL = st.builds(
    Protocol,
    pipelining=st.booleans(),
    hangup=st.booleans(),
    threshold=st.integers(1, 3),
    window_s=st.sampled_from((60, 3600, 9000)),
    block_s=st.sampled_from((30, 600, 90_000)),
    internal=st.booleans(),
)
POLICIES = st.builds(
    Policy,
    limits=LIMITS,
    networks=few(
        st.builds(NetworkRule, network=CIDRS, name=st.just("n"), limits=LIMITS, internal=OFTEN_NOT),
        2,
        unique_by=lambda rule: rule.network,
    ),
    exemptions=few(st.builds(Exemption, module=st.sampled_from(MODULES), network=CIDRS, expires=ENDS), 1),
    blocks=few(st.builds(Block, network=CIDRS, note=st.sampled_from(("", "spam")), expires=ENDS), 1),
    zones=st.one_of(st.just(()), ZONE_ROWS, ZONE_ROWS),
    reputation=REPUTATION,
    greylist=GREYLIST,
    protocol=PROTOCOL,
    suspensions=few(st.builds(Suspension, module=st.sampled_from(MODULES), until=SOON), 1),
    schedules=few(SCHEDULES, 2),
    shadow=few(st.sampled_from(RULES), 2, unique=True).map(lambda names: tuple(sorted(names))),
)

GAPS = st.one_of(
    st.integers(0, 3_000_000),
    st.sampled_from((0, 1, 59_999_999, 60_000_000, 60_000_001, 30_000_000, 1_000_000)),
)
LONG_GAPS = st.one_of(
    GAPS,
    GAPS,
    st.sampled_from((3_600_000_000, 7_300_000_000, 20_000_000_000, 86_400_000_000)),
)
LATENESS = st.one_of(st.just(0), st.just(0), st.just(0), st.integers(0, 90_000_000))


@st.composite
def answers(draw: st.DrawFn, codes: tuple[str, ...] = CODES) -> dict[str, Any]:
    """What a reputation event says: a finished round, or one zone's listing from postscreen's log."""
    whole = draw(st.sampled_from((True, True, False)))
    clean = whole and draw(st.sampled_from((False, False, True)))
    zones = (
        ()
        if clean
        else draw(
            st.lists(st.sampled_from(ZONES[:2] + ZONES), min_size=not whole, max_size=3 if whole else 1)
        )
    )
    return {
        "service": "reputation" if whole else "postscreen/dnsblog",
        "detail": "; ".join(f"{zone} {draw(st.sampled_from(codes))}" for zone in zones),
        "ttl_s": draw(st.sampled_from((0, 60, 300, 7200, 90_000))) if whole else 0,
        "session": draw(st.sampled_from(("mx/1", "mx/2"))) if whole else "",
    }


@st.composite
def attempts(draw: st.DrawFn) -> dict[str, Any]:
    """A refused transaction or recipient: most by our own 451."""
    sender, recipient = draw(st.sampled_from(SENDERS)), draw(st.sampled_from(RECIPIENTS))
    said = f"451 4.7.1 <{recipient}>: Recipient address rejected: "
    code, detail = draw(
        st.sampled_from(
            (
                (451, said + OURS),
                (451, said + OURS),
                (451, said + OURS),
                (451, said + OURS.replace("600", "7")),
                (451, "451 4.3.0 <x@example.org>: Temporary lookup failure"),
                (451, "451 4.3.0 <x@example.org>: Go away: greylisted, retry in a s"),
                (450, said + OURS),
                (571, "571 5.7.1 <x>: Recipient address rejected: Go away: greylist policy: no retry"),
                (451, said + "x" * (512 - len(said) - len(OURS)) + OURS),
            )
        )
    )
    if draw(st.integers(0, 9)) == 0:  # a client that writes what we write, and a line that is cut behind it
        recipient = f'"{OURS}; from=<"@example.com'
        detail = f'451 4.3.0 <"{OURS}'
    return {"sender": sender, "recipient": recipient, "code": code, "detail": detail}


def details(kind: EventKind) -> st.SearchStrategy[dict[str, Any]]:
    """What an event of this kind bears beside who and when."""
    if kind == "mail":
        return st.one_of(st.just({}), attempts())
    if kind == "rcpt":
        return attempts()
    if kind == "message":
        return st.fixed_dictionaries({"sender": st.sampled_from(SENDERS)})
    if kind == "violation":
        return st.fixed_dictionaries(
            {
                "violation": st.sampled_from(
                    ("missing HELO", "pipelining", "hangup", "unheard of", *VIOLATIONS)
                )
            }
        )
    if kind == "reputation":
        return answers()
    if kind == "learnt":
        return st.just({"session": ""})
    return st.just({"session": "", "detail": "by hand"} if kind == "forget" else {})


@st.composite
def histories(draw: st.DrawFn, max_size: int = 60, late: bool = True, long: bool = True) -> list[Event]:
    """Events in order of arrival; some late, many of few clients and sessions."""
    clock, events = START, list[Event]()
    kinds = draw(st.sampled_from((COUNTED, KINDS, KINDS, SPECIAL, SELDOM, KINDS + SELDOM)))
    names = draw(st.sampled_from((ADDRESSES[:1], ADDRESSES[:2], ADDRESSES[3:5], ADDRESSES)))
    for number in range(draw(st.one_of(st.integers(0, 10), st.integers(max_size // 3, max_size)))):
        clock += draw(LONG_GAPS if long else GAPS)
        address, kind = parse_address(draw(st.sampled_from(names))), draw(st.sampled_from(kinds))
        fields: dict[str, Any] = {
            "session": f"mx/{draw(st.integers(0, 5))}",
            "ptr": "mail.pool.example.net" if draw(st.booleans()) else "",
            **draw(details(kind)),
        }
        events.append(
            Event(
                id=f"e{number:04d}",
                at=Instant(clock - (draw(LATENESS) if late else 0)),
                kind=kind,
                client=ClientPrefixes().client_of(address),
                address=address,
                host="mx",
                **fields,
            )
        )
    return events
