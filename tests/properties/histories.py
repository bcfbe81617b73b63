"""Histories and policies to try the engine on: few clients, small limits, times at the windows' ends."""

from hypothesis import strategies as st

from streams.model.client import ClientPrefixes, parse_address, parse_network
from streams.model.event import Event, EventKind
from streams.model.instant import Instant
from streams.model.policy import Block, Exemption, Limits, NetworkRule, Policy

START = 1_678_748_400_000_000
ADDRESSES = ("192.0.2.7", "192.0.2.8", "198.51.100.1", "2001:db8::1", "2001:db8::2", "2001:db8:1::1")
NETWORKS = ("192.0.2.0/24", "192.0.2.7", "0.0.0.0/0", "2001:db8::/32", "2001:db8::2")
KINDS: tuple[EventKind, ...] = (
    "connect",
    "connect",
    "connect",
    "mail",
    "mail",
    "disconnect",
    "rcpt",
    "violation",
)

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
CIDRS = st.sampled_from(NETWORKS).map(parse_network)
POLICIES = st.builds(
    Policy,
    limits=LIMITS,
    networks=st.lists(
        st.builds(NetworkRule, network=CIDRS, name=st.just("n"), limits=LIMITS),
        max_size=2,
        unique_by=lambda rule: rule.network,
    ).map(tuple),
    exemptions=st.lists(
        st.builds(
            Exemption,
            module=st.sampled_from(("rate", "rate", "dnsbl")),
            network=CIDRS,
            expires=st.one_of(st.none(), st.integers(0, 200).map(lambda s: Instant(START + s * 1_000_000))),
        ),
        max_size=1,
    ).map(tuple),
    blocks=st.lists(st.builds(Block, network=CIDRS, note=st.sampled_from(("", "spam"))), max_size=1).map(
        tuple
    ),
)

GAPS = st.one_of(
    st.integers(0, 3_000_000),
    st.sampled_from((0, 1, 59_999_999, 60_000_000, 60_000_001, 30_000_000, 1_000_000, 7_300_000_000)),
)
LATENESS = st.one_of(st.just(0), st.just(0), st.just(0), st.integers(0, 90_000_000))


@st.composite
def histories(draw: st.DrawFn, max_size: int = 60, late: bool = True) -> list[Event]:
    """Events in order of arrival; some late, many of few clients and sessions."""
    clock, events = START, list[Event]()
    for number in range(draw(st.integers(0, max_size))):
        clock += draw(GAPS)
        address = parse_address(draw(st.sampled_from(ADDRESSES[: draw(st.sampled_from((1, 2, 6)))])))
        events.append(
            Event(
                id=f"e{number:04d}",
                at=Instant(clock - (draw(LATENESS) if late else 0)),
                kind=draw(st.sampled_from(KINDS)),
                client=ClientPrefixes().client_of(address),
                address=address,
                session=f"mx/{draw(st.integers(0, 5))}",
                host="mx",
            )
        )
    return events
