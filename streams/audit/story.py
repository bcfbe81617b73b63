"""One hit opened: the session it happened in, the decision, what was counted, the policy as it was then."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.hits import block_at, instant_of_short, short_id
from streams.audit.policy_history import changes, entries_at
from streams.audit.search import standing_blocks
from streams.audit.stored import NO_CLIENTS_DOING, decisions_where, events_where
from streams.config import ClickHouseSettings
from streams.errors import InvalidValueError
from streams.model.client import parse_network
from streams.model.decision import Decision
from streams.model.event import Event, EventKind
from streams.model.instant import MICROSECONDS, Instant
from streams.wire.policy_entries import Entries
from streams.wire.policy_log import Change
from streams.wire.policy_values import network_text
from streams.wire.postfix.ours import cannot_be_told, is_ours

SESSION_EVENTS: Final = 200
COUNTED_EVENTS: Final = 60
_SESSION_US: Final = 6 * 3600 * MICROSECONDS
"""How far from the event its session's other events may lie."""
_CHANGES_READ: Final = 100_000

COUNTED: Final[dict[str, tuple[EventKind, ...]]] = {
    "concurrent_connections": ("connect", "disconnect"),
    "connections_per_minute": ("connect",),
    "requests_per_minute": ("mail",),
}
"""Rule → the events that it counts; protocol rules count violations."""


@dataclass(frozen=True, slots=True)
class Story:
    """All that is recorded about one event or decision."""

    event: Event | None
    """The event, or the one that brought the decision about; None where it is not stored (any more)."""
    decision: Decision | None
    """The decision, or the block that stood when the event was refused, or what the event brought about; None
    where we decided nothing, or it is not stored (any more)."""
    brought_about: bool
    """Whether the event brought the decision about, and was not merely refused by it."""
    session: tuple[Event, ...]
    """The session's events, in the order of the log."""
    counted: tuple[Event, ...]
    """What the rule had counted: the client's last such events within its window up to the decision."""
    version: str
    """Version of the policy that decided; empty where nothing was decided."""
    entry_key: str
    """Key of the policy's entry that set the limit: `limits`, `networks/192.0.2.0/24`, …"""
    entry: dict[str, Any] | None
    """That entry as it was written then; None where no change on record holds it (file, defaults)."""
    entries: Entries
    """Every entry in force then; empty where there was no change on record yet."""
    change: Change | None
    """The change that decided, known by its version; where none on record has that, the one in force then."""
    current: Entries | None
    """Every entry of the latest change on record; None where there is none."""


def story(settings: ClickHouseSettings, hit: str, start: int, end: int) -> Story | None:
    """The story of a short id, or of a whole id (event, decision) within this time. None: not found."""
    clickhouse = ClickHouse(settings)
    try:
        event, decision = _found(clickhouse, hit, start, end)
        if event is None and decision is None:
            return None
        brought_about = False
        if decision is not None:
            brought_about = True
            event = _event_of(clickhouse, decision)
        elif event is not None:
            decision, brought_about = _decision_of(clickhouse, event)
        at = decision.at if decision else event.at if event else Instant(0)
        key = entry_key(decision) if decision else ""
        history = changes(settings, limit=_CHANGES_READ)
        change = change_of(history, decision.policy if decision else "", at)
        latest = max((it.at for it in history), default=None)
        entries = entries_at(settings, change.at) if change else {}
        return Story(
            event=event,
            decision=decision,
            brought_about=brought_about,
            session=tuple(_session(clickhouse, event)) if event else (),
            counted=tuple(_counted(clickhouse, decision)) if decision else (),
            version=decision.policy if decision else "",
            entry_key=key,
            entry=entries.get(key) if key else None,
            entries=entries,
            change=change,
            current=None if latest is None else entries_at(settings, latest),
        )
    finally:
        clickhouse.close()


def change_of(history: Sequence[Change], version: str, at: int) -> Change | None:
    """Of the changes (newest first), the one that brought this version; by time where none on record has it.

    An event is stamped by another clock than a change, and may be judged long after it happened. So of
    several with the version it is the latest made up to then, else the first.
    """
    own = [it for it in history if version and it.version == version]
    made = next((it for it in own or history if it.at <= at), None)
    return made or (own[-1] if own else None)


def _found(clickhouse: ClickHouse, hit: str, start: int, end: int) -> tuple[Event | None, Decision | None]:
    at = instant_of_short(hit)
    if at is not None:
        condition = "at = fromUnixTimestamp64Micro(%(at)s)"
        parameters = {"at": int(at)}
        events = events_where(clickhouse, condition, parameters, limit=10_000)
        event = next((it for it in events if short_id(it.at, it.id) == hit), None)
        if event is not None:
            return event, None
        decisions = decisions_where(clickhouse, condition, parameters, limit=10_000)
        return None, next((it for it in decisions if short_id(it.at, it.id) == hit), None)
    bounded: dict[str, object] = {"id": hit, "start": start, "end": end}
    condition = (
        "at >= fromUnixTimestamp64Micro(%(start)s) AND at < fromUnixTimestamp64Micro(%(end)s) AND id = %(id)s"
    )
    found = events_where(clickhouse, condition, bounded, limit=1)
    if found:
        return found[0], None
    decided = decisions_where(clickhouse, condition, bounded, limit=1)
    return None, decided[0] if decided else None


_NEAR: Final = (
    "client = %(client)s AND at BETWEEN fromUnixTimestamp64Micro(%(low)s)"
    " AND fromUnixTimestamp64Micro(%(high)s)"
)


def _near(it: Event | Decision) -> dict[str, object]:
    """Parameters of `_NEAR`: the same client, as far away as a session can be."""
    return {"client": it.client, "low": it.at - _SESSION_US, "high": it.at + _SESSION_US}


def _event_of(clickhouse: ClickHouse, decision: Decision) -> Event | None:
    found = events_where(
        clickhouse,
        f"{_NEAR} AND id = %(id)s",
        {**_near(decision), "id": decision.event},
        limit=1,
    )
    return found[0] if found else None


def _decision_of(clickhouse: ClickHouse, event: Event) -> tuple[Decision | None, bool]:
    """What the event brought about, else the block that it was refused by, or may have been: where its text
    leaves that open, or has the block's reason behind another opening (`[replies]`)."""
    near = {**_near(event), "id": event.id}
    own = decisions_where(clickhouse, f"{_NEAR} AND event = %(id)s", near, limit=10)
    if own:
        return next((it for it in own if not it.shadow), own[0]), True
    if event.code < 400:
        return None, False
    block = block_at(standing_blocks(clickhouse, [event]), event)
    if block is None or is_ours(event) or cannot_be_told(event):
        return block, False
    return (block if block.reason and block.reason in event.detail else None), False


def _session(clickhouse: ClickHouse, event: Event) -> list[Event]:
    """Events of the one connection: process ids come again, so it is cut at its connect and disconnect."""
    if not event.session:
        return [event]
    events = events_where(
        clickhouse,
        f"{_NEAR} AND session = %(session)s AND kind NOT IN %(none)s",
        {**_near(event), "session": event.session, "none": NO_CLIENTS_DOING},
        limit=20_000,
    )
    return one_session(events, event.id)[:SESSION_EVENTS]


def one_session(events: Sequence[Event], id_: str) -> list[Event]:
    """Of the events of a session name, in the order of the log, those of the connection with this event."""
    place = next((at for at, it in enumerate(events) if it.id == id_), None)
    if place is None:
        return []
    first = place
    while first > 0 and events[first].kind != "connect" and events[first - 1].kind != "disconnect":
        first -= 1
    last = place
    while last + 1 < len(events) and events[last].kind != "disconnect" and events[last + 1].kind != "connect":
        last += 1
    # a message is queued, or refused for its content, after its client has gone
    tail = [it for it in events[last + 1 :] if it.kind == "message"]
    queue_ids = {it.queue_id for it in events[first : last + 1] if it.queue_id}
    return [*events[first : last + 1], *(it for it in tail if it.queue_id in queue_ids)]


def _counted(clickhouse: ClickHouse, decision: Decision) -> list[Event]:
    """The latest of what was counted, oldest first."""
    kinds: tuple[str, ...] = COUNTED.get(decision.rule, ())
    if decision.trigger == "protocol":
        kinds = ("violation",)
    if decision.trigger == "reputation":
        kinds = ("reputation",)
    if not kinds:
        return []
    window_us = (decision.evidence.window_s or 3600) * MICROSECONDS
    found = events_where(
        clickhouse,
        "client = %(client)s AND at > fromUnixTimestamp64Micro(%(low)s)"
        " AND at <= fromUnixTimestamp64Micro(%(high)s) AND kind IN %(kinds)s",
        {
            "client": decision.client,
            "low": decision.at - window_us,
            "high": int(decision.at),
            "kinds": kinds,
        },
        limit=COUNTED_EVENTS,
        newest=True,
    )
    if decision.rule != "concurrent_connections":
        found = found[: decision.evidence.count]  # what came during an earlier block was not counted
    return found[::-1]


def entry_key(decision: Decision) -> str:
    """Key of the policy's entry that the decision rests on."""
    evidence = decision.evidence
    match decision.trigger:
        case "rate":
            return f"networks/{_network(evidence.network)}" if evidence.network else "limits"
        case "reputation":
            return f"zones/{decision.rule}"
        case "blocklist":
            return f"blocks/{_network(evidence.network)}" if evidence.network else ""
        case _:
            return decision.trigger


def _network(text: str) -> str:
    try:
        return network_text(parse_network(text))
    except InvalidValueError:
        return text
