"""`goaway explain ADDRESS`: what holds for it, what stands against it, and the command that would help."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import TextWrapper
from typing import Any, Final

import click

from streams.audit.lately import Refused
from streams.cli.explained import MOST, Explained, look
from streams.cli.options import data_flags, data_option, policy_option
from streams.cli.policy_edits import networks
from streams.cli.screen import why
from streams.engine.advice import Stands, modules
from streams.engine.treatment import moment, span
from streams.model.decision import Decision
from streams.model.instant import rfc3339

_MAX_DETAIL: Final = 200
_WIDEST: Final = 100
_DATE: Final = len("2026-11-24 ")
_LABEL: Final = 12
"""Columns of the labels on the left."""


@click.command()
@click.argument("address")
@data_option
@policy_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def explain(
    context: click.Context, address: str, data: Path, policy_file: Path | None, as_json: bool
) -> None:
    """Say what holds for ADDRESS: limits, exemptions, what stands against it since when, and what would help.

    Reads the policy in force and the decisions from Kafka (those of a running goaway up, else GOAWAY_KAFKA)
    and, where it answers, ClickHouse.
    """
    (network,) = networks([address])  # a range is answered with the CIDRs that cover it
    explained = replace(look(network, data, policy_file), flags=data_flags(context, data))
    if as_json:
        click.echo(json.dumps(_as_json(explained), ensure_ascii=True))
        return
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    for line in _shown(explained, width):
        click.echo(line)


def _shown(it: Explained, width: int) -> Iterator[str]:
    standing = it.index.standing(it.address)
    limits = standing.limits
    counted = "" if str(it.client) == it.address else f" (counted as {it.client})"
    change = f"change {it.change}" if it.change else "as its file says"
    yield click.style(f"{it.address}{counted}; policy {it.index.version}, {change}", bold=True)
    yield ""
    if it.answer:
        yield from _row("Now", f"refused: {it.answer}", width, fg="red")
    elif it.invalid_helo:
        protocol = it.index.policy.replies.protocol
        words = f"let in; its mail is refused: {protocol}: invalid HELO"
        yield from _row("Now", words, width, fg="yellow")
    elif it.put_off_s:
        words = f"let in; new mail is put off first (greylist), {it.put_off_s} s"
        yield from _row("Now", words, width, fg="yellow")
    else:
        yield from _row("Now", "let in", width, fg="green")
    for stands in it.stands:
        yield from _block(stands, it.at, width)
    source = f"[[networks]] {standing.network}" if standing.network else "[limits]"
    for name, keys in it.schedules.items():
        source += f" with [[schedules]] {name} ({', '.join(keys)})"
    yield from _row(
        "Limits",
        f"from {source}: {limits.concurrent_connections} connections at a time; a minute, "
        f"{limits.connections_per_minute} connections and {limits.requests_per_minute} requests; "
        f"cool-down {limits.cool_down_s} s",
        width,
    )
    for module, words in modules(it.index, it.address, it.at).items():
        yield from _row(f"  {module}", words, width)
    yield from _row("Last 24 h", _seen(it), width)
    for number, decision in enumerate(it.lately.decisions[:MOST]):
        yield from _row("" if number else "  decided", _decided(decision), width)
    for number, refused in enumerate(it.lately.refused):
        yield from _row("" if number else "  answered", _answered(refused), width)
    yield ""
    yield "What to know" if it.findings else "Nothing else to know."
    for finding in it.findings:
        yield from wrap(f"- {finding.what}{':' if finding.command else ''}", width, subsequent_indent="  ")
        if finding.command:
            yield click.style(f"    {it.command(finding)}", bold=True)  # in one piece, to be copied


def wrap(words: str, width: int, *, subsequent_indent: str = "") -> list[str]:
    """Lines of at most that many columns; what is longer by itself is left whole."""
    wrapper = TextWrapper(
        width, subsequent_indent=subsequent_indent, break_long_words=False, break_on_hyphens=False
    )
    return wrapper.wrap(words)


def _row(label: str, words: str, width: int, *, fg: str | None = None) -> Iterator[str]:
    for number, line in enumerate(wrap(words, width - _LABEL)):
        yield click.style(f"{'' if number else label:<{_LABEL}}", bold=True) + click.style(line, fg=fg)


def _block(stands: Stands, now: int, width: int) -> Iterator[str]:
    decision = stands.decision
    # its rule and its evidence are both the zone
    reason = decision.evidence.note if decision.trigger == "reputation" else why(decision)
    yield from _row(decision.trigger.capitalize(), reason, width)
    since, until = moment(decision.at), "the entry is removed"
    if decision.until is not None:
        until = moment(decision.until)
        if until[:_DATE] == since[:_DATE]:
            until = until[_DATE:]
        until += f" ({span(decision.until - now)} left)"
    yield from _row("", f"since {since.removesuffix(' UTC')} until {until}", width)
    place = decision.session or decision.host or "no session"
    yield from _row("", f"event {decision.event} of {place}, policy {decision.policy}", width)
    if stands.lifted_by:
        yield from _row("", f"it does not refuse: {stands.lifted_by}", width)


def _seen(it: Explained) -> str:
    if it.storage:
        return f"not known: {it.storage.partition(' (')[0]}"
    if it.known is None:
        return "not seen"
    known = it.known
    words = (
        f"connections {known.connections}, requests {known.requests}, messages queued {known.messages}, "
        f"refusals {known.refusals}, violations {known.violations}, logins {known.logins}; last "
        f"{moment(known.last)} at {', '.join(known.hosts)}"
    )
    names = "".join(
        f"; {label} {', '.join(ascii(name)[1:-1][:80] for name in found)}"
        for label, found in (("HELO", known.helo), ("name", known.ptr))
        if found
    )
    return words + names


def _decided(decision: Decision) -> str:
    at, ends = moment(decision.at).removesuffix(" UTC"), "until the entry is removed"
    if decision.action == "release":
        said = ascii(decision.evidence.note)[1:-1]
        why_released = f"{decision.reason or decision.rule}{f' {said}' if said else ''}"
        return f"{at} released: {why_released}"
    if decision.until is not None:
        ends = f"until {moment(decision.until).removesuffix(' UTC')}"
    how = "in shadow, refused nobody: " if decision.shadow else ""
    return f"{at} {how}{decision.trigger} block {ends}: {why(decision)}"


def _answered(refused: Refused) -> str:
    times = f", {refused.count} times" if refused.count > 1 else ""
    at = moment(refused.last).removesuffix(" UTC")
    return f"{at} {refused.code}{times}: {ascii(refused.detail)[1:-1][:_MAX_DETAIL]}"


def _as_json(it: Explained) -> dict[str, Any]:
    standing = it.index.standing(it.address)
    limits = {name: getattr(standing.limits, name) for name in standing.limits.__struct_fields__}
    return {
        "address": it.address,
        "client": it.client,
        "at": rfc3339(it.at),
        "policy": it.index.version,
        "change": it.change,
        "refused": it.answer or None,
        "stands": [
            {
                "trigger": stands.decision.trigger,
                "rule": stands.decision.rule,
                "reason": stands.decision.reason,
                "since": rfc3339(stands.decision.at),
                "until": rfc3339(stands.decision.until) if stands.decision.until else None,
                "why": why(stands.decision),
                "event": stands.decision.event,
                "lifted_by": stands.lifted_by or None,
            }
            for stands in it.stands
        ],
        "limits": {"from": standing.network or "limits", "schedules": it.schedules, **limits},
        "modules": modules(it.index, it.address, it.at),
        "last_24_h": None
        if it.known is None
        else {
            "connections": it.known.connections,
            "requests": it.known.requests,
            "messages": it.known.messages,
            "refusals": it.known.refusals,
            "last": rfc3339(it.known.last),
        },
        "decided": [
            {
                "at": rfc3339(one.at),
                "until": rfc3339(one.until) if one.until else None,
                "action": one.action,
                "trigger": one.trigger,
                "rule": one.rule,
                "shadow": one.shadow,
                "why": why(one),
            }
            for one in it.lately.decisions[:MOST]
        ],
        "answered": [
            {"code": one.code, "text": one.detail, "count": one.count, "last": rfc3339(one.last)}
            for one in it.lately.refused
        ],
        "put_off_s": it.put_off_s or None,
        "greylisted": [rfc3339(at) for at in it.retry_from],
        "findings": [{"what": one.what, "command": it.command(one) or None} for one in it.findings],
    }
