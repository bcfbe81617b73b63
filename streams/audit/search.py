"""What was logged and decided, found by what an administrator knows of it; newest first, page by page.

A search is always bounded in time. It first finds the keys of a page from the few columns that it filters
by, then reads these rows whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from streams.audit.clickhouse import ClickHouse
from streams.audit.stored import NO_CLIENTS_DOING, bounds, clients_holding, decisions_where, events_where
from streams.errors import InvalidValueError
from streams.model.client import Network
from streams.model.decision import Decision, derived_id
from streams.model.event import Event
from streams.model.instant import Instant
from streams.model.policy import Replies

What = Literal["events", "decisions", "both"]

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_STANDING: Final = 100_000
_SPOKEN: Final[dict[str, tuple[str, ...]]] = {
    trigger: tuple(f"{Replies().opening}: {getattr(Replies(), name)}" for name in names)
    for trigger, names in {
        "rate": ("rate",),
        "reputation": ("reputation",),
        "greylist": ("greylist", "greylisted"),
        "protocol": ("protocol",),
        "blocklist": ("blocklist",),
    }.items()
}
"""Trigger → how our refusals by it begin in the MTA's log, unless `[replies]` says otherwise."""


def spoken_by(detail: str) -> str:
    """The trigger whose reason this refusal's text gives; empty where it is none of ours."""
    return next((it for it, texts in _SPOKEN.items() if any(text in detail for text in texts)), "")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the order of hits: everything after it on the way to older ones is not yet shown."""

    at: int
    id: str

    def __str__(self) -> str:
        return f"{_base36(self.at)}-{self.id}"


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
    """Part of it; with `*` in it the whole, `*` for anything."""
    trigger: str = ""
    rule: str = ""
    host: str = ""
    before: Cursor | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Hit:
    """An event, with the block that stood when we refused it where there is one; or a decision alone."""

    event: Event | None = None
    decision: Decision | None = None

    @property
    def at(self) -> Instant:
        """When."""
        found = self.event or self.decision
        assert found is not None
        return found.at

    @property
    def id(self) -> str:
        """The id of the event or decision."""
        found = self.event or self.decision
        assert found is not None
        return found.id

    @property
    def short_id(self) -> str:
        """What `--story` takes: the instant, so that it is found at once, and four digits of the id."""
        return short_id(self.at, self.id)

    @property
    def cursor(self) -> Cursor:
        """Its place in the order."""
        return Cursor(self.at, self.id)


def search(clickhouse: ClickHouse, query: Query) -> list[Hit]:
    """At most `limit` hits, newest first."""
    hits: list[Hit] = []
    if query.what != "decisions" and not query.rule:
        hits += [Hit(event=event) for event in _events(clickhouse, query)]
    if query.what != "events" and not (query.sender or query.recipient):
        hits += [Hit(decision=decision) for decision in _decisions(clickhouse, query)]
    hits.sort(key=lambda hit: (hit.at, hit.id), reverse=True)
    return _with_blocks(clickhouse, hits[: query.limit])


def short_id(at: int, whole: str) -> str:
    """`kq3f0x2m9a-1f2c`"""
    return f"{_base36(at)}-{derived_id('hit', whole)[:4]}"


def instant_of_short(text: str) -> Instant | None:
    """The instant that a short id names; None where it is no short id."""
    head, dash, tail = text.partition("-")
    if not dash or len(tail) != 4 or not 1 <= len(head) <= 12 or any(it not in _DIGITS for it in head):
        return None
    return Instant(int(head, 36))


def parse_cursor(text: str) -> Cursor:
    """What a page ended with; `InvalidValueError` for anything else."""
    head, dash, tail = text.partition("-")
    if not dash or not tail or len(tail) > 64 or not head.isalnum() or not head.isascii() or len(head) > 12:
        raise InvalidValueError(f"{text[:64]!r} is no cursor", try_next="take it from the end of a page")
    return Cursor(int(head, 36), tail)


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text or "0"


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
    if query.host:
        found.add("host = %(host)s", host=query.host)
    if query.networks:
        keys = [clients_holding(network) for network in query.networks]
        if all(keys):
            found.add("client IN %(clients)s", clients=tuple(sorted({key for some in keys for key in some})))
        ranges = []
        for number, network in enumerate(query.networks):
            low, high = bounds(network)
            ranges.append(f"address BETWEEN toIPv6(%(low{number})s) AND toIPv6(%(high{number})s)")
            found.parameters |= {f"low{number}": low, f"high{number}": high}
        found.add(f"({' OR '.join(ranges)})")
    return found


def _events(clickhouse: ClickHouse, query: Query) -> list[Event]:
    where = _shared(query)
    where.add("kind NOT IN %(none)s", none=NO_CLIENTS_DOING)
    if query.text:
        where.add("positionCaseInsensitiveUTF8(detail, %(text)s) > 0", text=query.text)
    if query.trigger:
        where.add(
            "code >= 400 AND multiSearchAny(detail, %(spoken)s)",
            spoken=list(_SPOKEN.get(query.trigger, ("",))),
        )
    for name in ("sender", "recipient"):
        wanted = getattr(query, name)
        if wanted:
            where.add(f"{name} ILIKE %({name})s", **{name: _pattern(wanted)})
    keys = clickhouse.rows(
        f"SELECT client, id, toUnixTimestamp64Micro(at) FROM events WHERE {where} "  # noqa: S608
        "ORDER BY at DESC, id DESC LIMIT 1 BY id LIMIT %(most)s",
        {**where.parameters, "most": query.limit},
    )
    if not keys:
        return []
    found = {
        "clients": tuple({key[0] for key in keys}),
        "ids": tuple({key[1] for key in keys}),
        "low": min(key[2] for key in keys),
        "high": max(key[2] for key in keys),
    }
    return events_where(
        clickhouse,
        "client IN %(clients)s AND at BETWEEN fromUnixTimestamp64Micro(%(low)s) "
        "AND fromUnixTimestamp64Micro(%(high)s) AND id IN %(ids)s",
        found,
        limit=query.limit,
        newest=True,
    )


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
    return decisions_where(clickhouse, str(where), where.parameters, limit=query.limit)


def _pattern(text: str) -> str:
    """The pattern of ILIKE: what has a special meaning there has none, `*` stands for anything."""
    plain = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return plain.replace("*", "%") if "*" in text else f"%{plain}%"


def is_ours(event: Event) -> bool:
    """Whether the MTA refused by our answer, as its text shows (the policy's default opening)."""
    return event.code >= 400 and f"{Replies().opening}: " in event.detail


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


def block_at(decisions: Sequence[Decision], event: Event) -> Decision | None:
    """The newest of these (they come newest first) that stood for the event's client at its instant.

    Where several stood, the one whose reason the MTA's log repeats.
    """
    deferred = 400 <= event.code < 500
    stood = [
        it
        for it in decisions
        if it.client == event.client
        and it.at <= event.at
        and (it.until is None or event.at < it.until)
        and (it.action == "defer") == deferred
    ]
    named = [it for it in stood if it.reason and it.reason in event.detail]
    return next(iter(named or stood), None)
