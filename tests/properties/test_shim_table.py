"""The table equals a list that is searched from the start; the parser is blind to how bytes are cut."""

from hypothesis import given
from hypothesis import strategies as st

from streams.model.client import Client
from streams.model.decision import Decision
from streams.shim.table import FOREVER, PRECEDENCE, DecisionTable
from streams.wire.policy_protocol import PolicyReader, PolicyRequest, ProtocolFault
from tests.policy_cases import decision

_CLIENTS = ("192.0.2.1", "192.0.2.2", "2001:db8::/64")

_decisions = st.builds(
    lambda trigger, client, at, length, release: decision(
        trigger,
        client,
        at,
        None if length is None else at + length,
        action="release" if release else "block",
    ),
    st.sampled_from(PRECEDENCE),
    st.sampled_from(_CLIENTS),
    st.integers(0, 60),
    st.none() | st.integers(1, 40),
    st.booleans(),
)


def _standing(arrived: list[tuple[int, Decision]], now: int) -> list[tuple[str, str, int]]:
    """Every block that stands, from the list of (when it arrived, decision) alone."""
    standing: list[tuple[str, str, int]] = []
    for client in _CLIENTS:
        for trigger in PRECEDENCE:
            ends, blocks, latest = 0, False, -1
            for when, it in arrived:
                if (it.client, it.trigger) != (client, trigger):
                    continue
                if ends <= when:
                    ends, blocks, latest = 0, False, -1
                if it.at < latest:
                    continue
                if it.action == "block":
                    ends, blocks, latest = it.until or FOREVER, True, it.at
                elif ends:
                    blocks, latest = False, it.at
            if blocks and now < ends:
                standing.append((client, trigger, ends))
    return standing


@given(st.lists(st.tuples(st.integers(0, 3), _decisions, st.booleans()), max_size=60))
def test_table_is_the_list(history: list[tuple[int, Decision, bool]]) -> None:
    table, now, arrived = DecisionTable(), 0, []
    for pause, it, purged in history:
        now += pause
        if purged:
            table.purge(now)
        table.apply(it, now)
        arrived.append((now, it))
        # what ended is forgotten by purge at any moment, so the list forgets it as well: compare after one
        table.purge(now)
        found = [
            (client, held.trigger, held.ends)
            for client in _CLIENTS
            for held in table.of(Client(client))
            if held.refuses and now < held.ends
        ]
        assert found == _standing(arrived, now)
        assert len(table) == sum(len(table.of(Client(client))) for client in _CLIENTS)


_lines = st.sampled_from(
    [
        b"request=smtpd_access_policy",
        b"request=other",
        b"client_address=192.0.2.1",
        b"protocol_state=RCPT",
        b"sender==",
        b"",
        b"",
        b"",
        b"junk",
        b"=x",
        b"nul=\0",
    ]
)


@given(st.lists(_lines, max_size=30).map(b"\n".join), st.lists(st.integers(1, 9), min_size=1, max_size=50))
def test_the_parser_is_blind_to_chunks(sent: bytes, sizes: list[int]) -> None:
    whole = PolicyReader().feed(sent)
    reader, rest, found = PolicyReader(), sent, list[PolicyRequest | ProtocolFault]()
    for size in [*sizes, len(sent)]:
        found += reader.feed(rest[:size])
        rest = rest[size:]
    assert found == whole


@given(st.binary(max_size=300))
def test_no_garbage_raises(sent: bytes) -> None:
    found = PolicyReader().feed(sent)
    assert all(not isinstance(it, ProtocolFault) for it in found[:-1])
