"""What was logged and decided, found by what an administrator knows of it; newest first, page by page.

A search is always bounded in time. It first finds how far back a page reaches, from the few columns that it
filters by (of refusals from a table of theirs that is in the order of time), then reads these rows whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeVar

from streams.audit.clickhouse import ClickHouse
from streams.audit.hits import Cursor, Hit, block_at
from streams.audit.stored import (
    MAPPED,
    NO_CLIENTS_DOING,
    bounds,
    clients_holding,
    decisions_where,
    events_where,
    holds_mapped,
)
from streams.model.client import Network
from streams.model.decision import Decision
from streams.model.event import Event
from streams.model.instant import Instant
from streams.model.policy import Replies
from streams.wire.postfix.ours import is_ours

What = Literal["events", "decisions", "both"]
Found = TypeVar("Found")

_NO_V4: Final = f"NOT address BETWEEN toIPv6('{MAPPED[0]}') AND toIPv6('{MAPPED[-1]}')"
_STANDING: Final = 100_000
EMPTY: Final = "<>"
_OF_NOBODY: Final = (
    "sender = '' AND (kind = 'message' OR (kind IN ('mail', 'rcpt') AND code >= 400) OR recipient != '')"
)
"""No sender where there must be one: an accepted request is logged before its sender is known."""
_DOUBLES: Final = 20
"""Room for lines that were shipped twice; where there are more, it is asked again for more."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to find: all that is given must hold. Texts are compared without regard to case."""

    start: Instant
    end: Instant
    """First instant that is not searched any more."""
    what: What = "both"
    codes: tuple[int, ...] = ()
    text: str = ""
    """Part of a refusal's text, or of a decision's answer (`Go away: REASON`)."""
    networks: tuple[Network, ...] = ()
    """One of them holds the address."""
    sender: str = ""
    recipient: str = ""
    """Part of it; with `*` in it the whole, `*` for anything but none. `EMPTY` is the sender of a bounce."""
    trigger: str = ""
    rule: str = ""
    host: str = ""
    refused: bool = False
    """Only what has a code of 400 or above."""
    before: Cursor | None = None
    limit: int = 50


def search(clickhouse: ClickHouse, query: Query) -> list[Hit]:
    """At most `limit` hits, newest first."""
    hits: list[Hit] = []
    if query.what != "decisions" and not query.rule:
        hits += [Hit(event=event) for event in _events(clickhouse, query)]
    if query.what != "events" and not (query.sender or query.recipient):
        hits += [Hit(decision=decision) for decision in _decisions(clickhouse, query)]
    hits.sort(key=lambda hit: (hit.at, hit.id), reverse=True)
    return _with_blocks(clickhouse, hits[: query.limit])


@dataclass(slots=True)
class _Conditions:
    """An SQL condition under way, with its parameters."""

    parts: list[str] = field(default_factory=list)
    parameters: dict[str, object] = field(default_factory=dict)

    def add(self, part: str, **parameters: object) -> None:
        self.parts.append(part)
        self.parameters.update(parameters)

    def __str__(self) -> str:
        return " AND ".join(self.parts)


def _shared(query: Query) -> _Conditions:
    """What events and decisions are filtered by alike."""
    found = _Conditions()
    found.add("at >= fromUnixTimestamp64Micro(%(start)s)", start=int(query.start))
    found.add("at < fromUnixTimestamp64Micro(%(end)s)", end=int(query.end))
    if query.before is not None:
        found.add(
            "at <= fromUnixTimestamp64Micro(%(b_at)s)"
            " AND (at < fromUnixTimestamp64Micro(%(b_at)s) OR id < %(b_id)s)",
            b_at=query.before.at,
            b_id=query.before.id,
        )
    if query.codes:
        found.add("code IN %(codes)s", codes=query.codes)
    if query.refused:
        found.add("code >= 400")
    if query.host:
        found.add("host = %(host)s", host=query.host)
    if query.networks:
        keys = [clients_holding(network) for network in query.networks]
        if all(keys):
            found.add("client IN %(clients)s", clients=tuple(sorted({key for some in keys for key in some})))
        ranges = []
        for number, network in enumerate(query.networks):
            low, high = bounds(network)
            within = f"address BETWEEN toIPv6(%(low{number})s) AND toIPv6(%(high{number})s)"
            ranges.append(f"({within} AND {_NO_V4})" if holds_mapped(network) else within)
            found.parameters |= {f"low{number}": low, f"high{number}": high}
        found.add(f"({' OR '.join(ranges)})")
    return found


def _events(clickhouse: ClickHouse, query: Query) -> list[Event]:
    where = _shared(query)
    where.add("kind NOT IN %(none)s", none=NO_CLIENTS_DOING)
    if query.text:
        where.add("positionCaseInsensitiveUTF8(detail, %(text)s) > 0", text=query.text)
    if query.trigger:
        where.add("code >= 400 AND trigger = %(trigger)s", trigger=query.trigger)
    for name in ("sender", "recipient"):
        wanted = getattr(query, name)
        if wanted == EMPTY:
            where.add(_OF_NOBODY)
        elif wanted:
            where.add(f"{name} != '' AND {name} ILIKE %({name})s", **{name: pattern(wanted)})
    table, keyed = ("refusals", _of_refusals(query)) if _in_refusals(query) else ("events", where)

    def read(condition: str, parameters: dict[str, object]) -> list[Event]:
        return events_where(clickhouse, condition, parameters, limit=query.limit, newest=True)

    return _newest(clickhouse, query, table, keyed, where, read)


def _newest(
    clickhouse: ClickHouse,
    query: Query,
    table: str,
    keyed: _Conditions,
    where: _Conditions,
    read: Callable[[str, dict[str, object]], list[Found]],
) -> list[Found]:
    """What `read` finds by `where` within as much of the period as fills a page: `table`, asked by `keyed`,
    says how far back that reaches, and whose the rows are."""
    whole = f"{where} AND client IN %(found)s AND at >= fromUnixTimestamp64Micro(%(oldest)s)"
    most = query.limit + _DOUBLES
    while True:
        keys = clickhouse.rows(
            f"SELECT client, toUnixTimestamp64Micro(at) FROM {table} WHERE {keyed} "  # noqa: S608
            "ORDER BY at DESC LIMIT %(most)s",
            {**keyed.parameters, "most": most},
        )
        if not keys:
            return []
        oldest = keys[-1][1] if len(keys) == most else int(query.start)
        clients = tuple({client for client, _ in keys})
        found = read(whole, {**where.parameters, "found": clients, "oldest": oldest})
        if len(found) == query.limit or len(keys) < most:
            return found
        most *= 4


def _in_refusals(query: Query) -> bool:
    """Whether the table of refusals knows all that is asked, so that the way to the newest ones is short."""
    refused = query.refused or bool(query.trigger) or bool(query.codes)
    refused = refused and all(code >= 400 for code in query.codes)
    return refused and not (query.text or query.networks or query.sender or query.recipient)


def _of_refusals(query: Query) -> _Conditions:
    """What rows of `refusals` are filtered by: they have no ids, so some of one instant may be too many."""
    found = _shared(replace(query, before=None))
    if query.before is not None:
        found.add("at <= fromUnixTimestamp64Micro(%(b_at)s)", b_at=query.before.at)
    if query.trigger:
        found.add("trigger = %(trigger)s", trigger=query.trigger)
    return found


def _decisions(clickhouse: ClickHouse, query: Query) -> list[Decision]:
    where = _shared(query)
    if query.trigger:
        where.add("trigger = %(trigger)s", trigger=query.trigger)
    if query.rule:
        where.add("rule = %(rule)s", rule=query.rule)
    if query.text:
        where.add(
            "positionCaseInsensitiveUTF8(concat(if(code > 0, concat(toString(code), ' ', %(opening)s, ': '),"
            " ''), reason), %(text)s) > 0",
            opening=Replies().opening,
            text=query.text,
        )

    def read(condition: str, parameters: dict[str, object]) -> list[Decision]:
        return decisions_where(clickhouse, condition, parameters, limit=query.limit)

    return _newest(clickhouse, query, "decisions", where, where, read)


def pattern(text: str) -> str:
    """The pattern of ILIKE: what has a special meaning there has none, `*` stands for anything."""
    plain = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return plain.replace("*", "%") if "*" in text else f"%{plain}%"


def _with_blocks(clickhouse: ClickHouse, hits: Sequence[Hit]) -> list[Hit]:
    """Hits of events that we refused, each with the block that stood."""
    ours = [hit.event for hit in hits if hit.event is not None and is_ours(hit.event)]
    if not ours:
        return list(hits)
    blocks = standing_blocks(clickhouse, ours)
    return [
        Hit(hit.event, block_at(blocks, hit.event)) if hit.event is not None and is_ours(hit.event) else hit
        for hit in hits
    ]


def standing_blocks(clickhouse: ClickHouse, events: Sequence[Event]) -> list[Decision]:
    """Decisions that refuse, of these events' clients, that stood between first and last event."""
    return decisions_where(
        clickhouse,
        "client IN %(clients)s AND action IN ('block', 'defer') AND NOT shadow "
        "AND at <= fromUnixTimestamp64Micro(%(last)s) "
        "AND (until IS NULL OR until > fromUnixTimestamp64Micro(%(first)s))",
        {
            "clients": tuple({event.client for event in events}),
            "first": min(event.at for event in events),
            "last": max(event.at for event in events),
        },
        limit=_STANDING,
    )
