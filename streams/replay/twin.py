"""Copies of a client's state, and whether two states can ever decide differently."""

from array import array
from bisect import bisect_right
from typing import Any

from streams.engine.state import ClientState, Record
from streams.engine.windows import WINDOW_US, Window
from streams.model.instant import MICROSECONDS


def copied(state: ClientState) -> ClientState:
    """A state of its own with the same content."""
    twin = ClientState(state.clock)
    twin.connects = None if state.connects is None else state.connects[:]
    twin.requests = None if state.requests is None else state.requests[:]
    twin.sessions = None if state.sessions is None else dict(state.sessions)
    twin.block_end, twin.strike, twin.warned = state.block_end, state.strike, state.warned
    twin.listed = state.listed
    if state.record is not None:
        twin.record = _copied_record(state.record)
    return twin


def _copied_record(record: Record) -> Record:
    twin = Record()
    twin.blocks, twin.shadows = dict(record.blocks), dict(record.shadows)
    twin.violations = None if record.violations is None else record.violations[:]
    twin.shadow_violations = None if record.shadow_violations is None else record.shadow_violations[:]
    twin.listings, twin.pending = dict(record.listings), dict(record.pending)
    twin.blamed, twin.learnt = record.blamed, record.learnt
    return twin


def future(state: ClientState, *, repeat_within_s: int) -> tuple[Any, ...]:
    """All of a state that a later decision can depend on: states with an equal future decide the same.

    What has left the windows, sessions that are forgotten, blocks that are over and strikes that no longer
    count are left out (`repeat_within_s`: the longest of the policy), and `warned`, which only warnings need.
    """
    now = state.clock
    over = state.block_end + repeat_within_s * MICROSECONDS <= now
    return (
        now,
        _within(state.connects, now),
        _within(state.requests, now),
        frozenset(it for it in (state.sessions or {}).items() if it[1] > now),
        0 if over else state.block_end,
        0 if over else state.strike,
        state.listed,
        None if state.record is None else _future_record(state.record, now),
    )


def _future_record(record: Record, now: int) -> tuple[Any, ...]:
    return (
        frozenset(it for it in record.blocks.items() if it[1] > now),
        frozenset(it for it in record.shadows.items() if it[1] > now),
        tuple(record.violations or ()),
        tuple(record.shadow_violations or ()),
        frozenset(record.listings.items()),
        record.blamed,
        tuple(record.pending.items()),
        record.learnt,
    )


def _within(window: "Window | None", now: int) -> bytes:
    if not window:
        return b""
    return array("q", window[bisect_right(window, now - WINDOW_US) :]).tobytes()
