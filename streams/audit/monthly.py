"""A month reviewed: what happened, who was refused and why, what changed, and what to do about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.exemptions import stale
from streams.audit.facts import DETAILED, Reasons
from streams.audit.month_clients import choose, rows_of
from streams.audit.month_facts import facts_of, messages_in, named, reasons_of, stored_of
from streams.audit.month_series import (
    Compared,
    Day,
    RuleCount,
    Warned,
    compared,
    days_of,
    hours_of,
    rules_of,
    warnings_of,
)
from streams.audit.neighbours import beside_senders, crowded, to_look_around, together
from streams.audit.policy_history import changes
from streams.audit.proposals import KINDS, Proposal, Thresholds, judge, period_around
from streams.audit.stats import Row
from streams.config import ClickHouseSettings
from streams.model.instant import MICROSECONDS, Instant, as_datetime, rfc3339
from streams.model.standing import PolicyIndex
from streams.wire.policy_entries import Entries, policy_of
from streams.wire.policy_log import Change

_DAY_US: Final = 86_400 * MICROSECONDS
_CHANGES_READ: Final = 100_000
_MISSING: Final = 0.01
"""Events that may be missing before the month counts as incomplete: one that runs is stored as it is read."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A client that was refused, and why: the commonest reasons first."""

    row: Row
    ptr: str
    reasons: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Month:
    """Everything the report says. Times and days are UTC."""

    name: str
    """`2026-11`"""
    start: Instant
    end: Instant
    made_at: Instant
    days: int
    """Days that there is data of; 0 where nothing was seen."""
    days_in_month: int
    thresholds: Thresholds
    """As they were given."""
    scaled: Thresholds
    """As they were applied."""
    total: Row | None
    before: Row | None
    """The month before."""
    before_days: int
    proposals: tuple[Proposal, ...]
    top: tuple[Row, ...]
    """Who connected most."""
    names: dict[str, str]
    """Client → its verified name, of those shown."""
    refused: tuple[Refused, ...]
    compared: tuple[Compared, ...]
    daily: tuple[Day, ...]
    """Every day of the month in order."""
    hourly: tuple[tuple[int, int, int], ...]
    """(day of the month, hour, connections), where there were any."""
    rules: tuple[RuleCount, ...]
    warned: tuple[Warned, ...]
    changes: tuple[Change, ...]
    """Changes of the policy, newest first."""
    remarks: tuple[str, ...]
    """What to know when reading it."""


def month(
    settings: ClickHouseSettings,
    start: int,
    end: int,
    *,
    thresholds: Thresholds,
    entries: Entries,
    now: int,
    days: int | None = None,
) -> Month:
    """The month [start, end). `entries`: the policy that proposals are held against. `days`: of how many
    days there is data, where it should not be taken from the data itself."""
    clickhouse = ClickHouse(settings)
    try:
        days_in_month = (end - start) // _DAY_US
        daily = days_of(clickhouse, start, end)
        seen = _span(daily)
        use_days = min(days or seen, days_in_month)
        scaled = thresholds.scaled(use_days or days_in_month, days_in_month)
        before_start = _month_before(start)
        before_days = _span(days_of(clickhouse, before_start, start))
        index = PolicyIndex(policy_of(entries))
        at = min(now, end)
        name = f"{as_datetime(start):%Y-%m}"
        chosen = choose(clickhouse, start, before_start, scaled, use_days, before_days)
        rows = rows_of(
            clickhouse, start, tuple({*chosen.top, *chosen.refused, *chosen.candidates, *chosen.compared})
        )
        was = rows_of(clickhouse, before_start, chosen.compared)
        candidates = [rows[client] for client in chosen.candidates]
        refused = [rows[client] for client in chosen.refused]
        close = {row.name: row for row in (*candidates[:DETAILED], *refused)}
        reasons = reasons_of(clickhouse, start, end, list(close.values()))
        names = named(clickhouse, start, {*close, *chosen.top, *chosen.compared})
        facts = facts_of(clickhouse, start, end, candidates, reasons, names)
        gone = _gone(clickhouse, start, daily, (*rows.values(), chosen.total))
        around = period_around(start, end, now)
        proposals = judge(facts, index, scaled, at, name, period=around, whole=not gone)
        proposals = together(proposals, messages_in(clickhouse, list(crowded(proposals))), index, name)
        senders = messages_in(clickhouse, to_look_around(proposals), start)
        proposals = beside_senders(proposals, senders)
        removals, remark = stale(clickhouse, index.policy.exemptions, at, thresholds.stale_days)
        top = [rows[client] for client in chosen.top]
        changed = compared(chosen.compared, rows, was, use_days, before_days)
        remarks = [
            *([gone] if gone else []),
            *_remarks(use_days, days_in_month, scaled, thresholds, remark, before_days, entries),
        ]
        made = [it for it in changes(settings, limit=_CHANGES_READ, since=Instant(start)) if it.at < end]
        return Month(
            name=name,
            start=Instant(start),
            end=Instant(end),
            made_at=Instant(now),
            days=use_days,
            days_in_month=days_in_month,
            thresholds=thresholds,
            scaled=scaled,
            total=chosen.total,
            before=chosen.before,
            before_days=before_days,
            proposals=tuple(sorted([*proposals, *removals], key=_order)),
            top=tuple(top),
            names=names,
            refused=tuple(
                Refused(row, names.get(row.name, ""), reasons.get(row.name, Reasons()).refused)
                for row in refused
            ),
            compared=tuple(changed),
            daily=tuple(daily),
            hourly=tuple(hours_of(clickhouse, start, end)),
            rules=tuple(rules_of(clickhouse, start, end)),
            warned=tuple(warnings_of(clickhouse, start, end)),
            changes=tuple(made),
            remarks=tuple(remarks),
        )
    finally:
        clickhouse.close()


def _order(proposal: Proposal) -> tuple[int, int]:
    return KINDS.index(proposal.kind), -int(proposal.evidence.get("connections", 0))


def _span(daily: Sequence[Day]) -> int:
    """Days from the first to the last on which anything happened."""
    seen = [at for at, day in enumerate(daily) if day.events]
    return seen[-1] - seen[0] + 1 if seen else 0


def _month_before(start: int) -> int:
    last_day = as_datetime(start - _DAY_US)
    return start - last_day.day * _DAY_US


def _gone(clickhouse: ClickHouse, start: int, daily: Sequence[Day], seen: Iterable[Row | None]) -> str:
    """What to know where events of the month were counted and are no longer stored; empty: all are.

    `seen`: what was counted of clients, and of all of them."""
    counted = sum(day.events for day in daily)
    first = min((row.first for row in seen if row is not None and row.first), default=None)
    stored, oldest = stored_of(clickhouse, start)
    if first is None or (stored and stored >= (1 - _MISSING) * counted and oldest <= first):
        return ""
    if not stored:
        which = "no event of this month is stored any more"
    elif oldest > first:
        since = rfc3339(oldest)[:16].replace("T", " ")
        which = f"events of this month are stored from {since} on only"
    else:
        which = "some events of this month are no longer stored"
    known = "known of what is stored only" if stored else "not known"
    return (
        f"{which} (goaway db retention): rhythms, sessions and reasons are {known}, and nobody is proposed "
        "for blocking for want of them"
    )


def _remarks(
    days: int,
    days_in_month: int,
    scaled: Thresholds,
    asked: Thresholds,
    exemptions: str,
    before_days: int,
    entries: Entries,
) -> list[str]:
    found = []
    if days and scaled != asked:
        judged = f"{scaled.exempt_from} connections (to exempt) and {scaled.block_from} (to block)"
        asked_for = f"{asked.exempt_from} and {asked.block_from}"
        found.append(
            f"{days} of {days_in_month} days have data: judged from {judged} on, in place of {asked_for}"
        )
    if exemptions:
        found.append(exemptions)
    if not before_days:
        found.append("nothing is stored of the month before: there is nothing to compare with")
    elif abs(before_days - days) > 1:
        found.append(f"the month before has {before_days} days with data: changes are compared per day")
    if not entries:
        found.append(
            "no change of the policy is on record: exemptions and blocks of a policy file need --policy"
        )
    return found
