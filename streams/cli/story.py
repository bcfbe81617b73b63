"""`goaway search --story`: one hit, opened."""

import json
from collections.abc import Iterator
from datetime import tzinfo
from typing import Any, Final

import click

from streams.audit.remedies import would_have_passed
from streams.audit.story import Story
from streams.cli.options import now
from streams.cli.period import local
from streams.cli.screen import why
from streams.cli.tables import cell
from streams.model.event import Event
from streams.model.instant import as_datetime, rfc3339
from streams.wire.frames import encode
from streams.wire.policy_values import Row
from streams.wire.policy_words import named
from streams.wire.postfix.ours import cannot_be_told, is_ours

_SHOWN_COUNTED: Final = 25
_NONE: Final = {
    "": "none of Goaway's",
    "mta": "none of Goaway's",
    "goaway": "Goaway's, as the text says; it is not stored (any more)",
    "unknown": "none that stood then is stored; whose words these are cannot be told",
}
"""By whom an event without a decision was refused → what is said of that."""


def print_story(story: Story, zone: tzinfo) -> None:
    """The story in words, for a person."""
    click.echo("\n".join(_lines(story, zone)))


def _lines(story: Story, zone: tzinfo) -> Iterator[str]:
    event, decision = story.event, story.decision
    subject = event or decision
    assert subject is not None
    host = cell(subject.host, 64) or "no host"
    yield f"{subject.address} (client {subject.client}), {local(subject.at, zone)}, at {host}"
    if event is not None:
        words = cell(event.detail or event.violation, 400) or "nothing more was logged"
        yield f"  {event.kind}{f' {event.code}' if event.code else ''}: {words}"
    yield ""
    if decision is None:
        yield f"Decision: {_NONE[_refused_by(story)]}."
    else:
        how = "this event brought it about" if story.brought_about else "it stood when this event was refused"
        if _refused_by(story) == "unknown":
            how += "; whose words these are cannot be told"
        shadow = ", in shadow: nobody was refused" if decision.shadow else ""
        until = f" until {local(decision.until, zone)}" if decision.until else ""
        when = f"at {local(decision.at, zone)}{until}"
        yield f"Decision: {decision.action} by {decision.trigger} {when} ({how}{shadow})"
        yield (
            f"  answer    {decision.code} {cell(decision.reason)}"
            if decision.code
            else f"  reason    {cell(decision.reason) or '–'}"
        )
        yield f"  evidence  {cell(why(decision))}"
        if decision.evidence.strike > 1:
            yield f"  repeated  block number {decision.evidence.strike} within repeat_within_s"
        yield f"  policy    version {cell(decision.policy, 16)}, {_in_force(story, zone)}"
        if story.entry_key:
            yield f"  limit of  {cell(_entry(story.entry_key, story.entry), 400)}"
        if story.counted:
            shown = story.counted[-_SHOWN_COUNTED:]
            left_out = f", the last {len(shown)} of them" if len(shown) < len(story.counted) else ""
            yield f"  counted   {len(story.counted)} events{left_out}:"
            yield from (f"    {line}" for line in _wrapped([f"{it.kind} {_clock(it, zone)}" for it in shown]))
    if story.session:
        yield ""
        yield f"Session {cell(story.session[0].session, 100)}:"
        for it in story.session:
            mark = ">" if event is not None and it.id == event.id else " "
            yield f"{mark} {_clock(it, zone)}  {_did(it)}"
    passed = would_have_passed(story, now())
    if passed:
        yield ""
        yield "What would have let it through:"
        for words, command in passed:
            yield f"- {cell(words, 300)}"
            if command:
                yield f"    {cell(command, 300)}"


def _refused_by(story: Story) -> str:
    """`goaway`, `mta`, or `unknown` where the client wrote our words as well; empty: nothing was refused, or
    the decision is all there is to tell of."""
    event = story.event
    if event is None or event.code < 400 or story.brought_about:
        return ""
    if is_ours(event):
        return "goaway"
    return "unknown" if story.decision is not None or cannot_be_told(event) else "mta"


def _clock(event: Event, zone: tzinfo) -> str:
    return as_datetime(event.at).astimezone(zone).strftime("%H:%M:%S.%f")[:-3]


def _wrapped(words: list[str], width: int = 74) -> Iterator[str]:
    line = ""
    for word in words:
        if line and len(line) + 2 + len(word) > width:
            yield line
            line = ""
        line += f"{', ' if line else ''}{word}"
    if line:
        yield line


def _did(event: Event) -> str:
    parts = [f"{event.kind}{f' {event.code}' if event.code else ''}"]
    for label, value in (
        ("helo", event.helo),
        ("from", event.sender),
        ("to", event.recipient),
        ("login", event.sasl_user),
        ("queue id", event.queue_id),
        ("violation", event.violation),
    ):
        if value:
            parts.append(f"{label} {cell(value, 80)}")
    if event.size:
        parts.append(f"{event.size:,} bytes")
    if event.detail:
        parts.append(cell(event.detail, 160))
    return ", ".join(parts)


def _in_force(story: Story, zone: tzinfo) -> str:
    change = story.change
    if change is None:
        return "as its file said (no change on record up to then)"
    note = f" ({cell(change.note)})" if change.note else ""
    words = f"change {change.number} by {cell(change.who, 64)} at {local(change.at, zone)}{note}"
    if story.version and story.version != change.version:
        return f"of which no change is on record; in force by the clock: {words}"
    return words


def _entry(key: str, entry: Row | None) -> str:
    if entry is None:
        return f"{key}: as the file or the defaults have it"
    values = ", ".join(f"{name} {value}" for name, value in entry.items() if name not in ("name", "note"))
    return f"{named(key, entry)}: {values or 'nothing but defaults'}"


def story_json(story: Story) -> dict[str, Any]:
    """The story as one document; events and decision as on their topics."""
    change = story.change
    return {
        "event": None if story.event is None else json.loads(encode(story.event)),
        "decision": None if story.decision is None else json.loads(encode(story.decision)),
        "brought_about": story.brought_about,
        "refused_by": _refused_by(story) or None,
        "session": [json.loads(encode(it)) for it in story.session],
        "counted": [json.loads(encode(it)) for it in story.counted],
        "policy": {
            "version": story.version or None,
            "change": None
            if change is None
            else {
                "number": change.number,
                "version": change.version,
                "who": change.who,
                "at": rfc3339(change.at),
                "what": change.what,
                "note": change.note,
            },
            "entry_key": story.entry_key or None,
            "entry": story.entry,
        },
        "would_have_passed": [
            {"what": words, "command": command or None} for words, command in would_have_passed(story, now())
        ],
    }
