"""`goaway shadow`: try a candidate policy beside the one in force, and see whom it would have refused."""

from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Final, Unpack

import click

from streams.audit.shadow_evidence import delivered
from streams.audit.shadow_records import Trial, read_trial
from streams.audit.shadow_report import Compared, Difference, compare, with_evidence
from streams.cli.options import data_option, now, zone_option
from streams.cli.pages import check_page, write_page
from streams.cli.period import local, moment_in
from streams.cli.policy_change import in_force, print_words
from streams.cli.policy_options import ChangeFlags, change_options, changing, entries_of_file
from streams.cli.reach import reach
from streams.cli.shadow_page import as_json, first_of, in_words, shadow_page, who
from streams.cli.tables import print_json, print_table, print_wrapped
from streams.config import Settings
from streams.errors import GoawayError, UsageError
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Limits
from streams.policy_writer import change_policy, read_policy_log
from streams.topics import CANDIDATE
from streams.wire.policy_entries import Entries, policy_of
from streams.wire.policy_log import Change
from streams.wire.policy_words import differences

_LINES = 20
_YEAR_US: Final = 300 * 86_400 * MICROSECONDS
"""Of a shorter trial moments are shown without the year."""
_COLUMNS: Final = ("client", "by", "first", "blocks", "seconds", "mail")
_SPARE: Final = ("first", "seconds")
_MEANING: Final = """blocks   by the candidate/by the policy in force
seconds  in which only the one/only the other refuses
mail     lost while only the candidate refuses/delivered"""


@click.group()
def shadow() -> None:
    """Try a candidate policy beside the one in force; it refuses nobody."""


@shadow.command("try")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@change_options
def try_(file: Path, **flags: Unpack[ChangeFlags]) -> None:
    """Have the workers judge everything by the policy in FILE too, from now on.

    It takes the place of a candidate that is tried already.
    """
    by = changing(flags)
    # a trial of what an empty file without networks says is no end of a trial
    wanted = entries_of_file(file) or {"limits": {"requests_per_minute": Limits().requests_per_minute}}
    _, holds = in_force(by)
    if policy_of(wanted).clients != policy_of(holds).clients:
        raise UsageError(
            f"{file} differs in [clients] from the policy in force: what one client is there is another here",
            try_next="the same [clients] as goaway policy show --live",
        )
    change = change_policy(
        by.kafka, {}, lambda _: wanted, who=by.by, what=f"try {file}"[:256], note=by.note, topic=CANDIDATE
    )
    words = differences(holds, wanted)
    if by.as_json:
        number = change.number if change is not None else None
        print_json({"candidate": number, "version": policy_of(wanted).version, "differences": words})
        return
    if change is None:
        click.echo("nothing to change: it is tried already")
    else:
        click.echo("beside the policy in force:" if words else "the same as the policy in force")
        print_words(words)
        click.echo(f"candidate {change.number} by {change.who}, version {change.version}, refuses nobody")
    click.echo("See what it would do: goaway shadow report")


@shadow.command()
@change_options
def stop(**flags: Unpack[ChangeFlags]) -> None:
    """End the trial. What it found stays to be reported, for 30 days or until the next one."""
    by = changing(flags)
    nothing: Entries = {}
    change = change_policy(
        by.kafka, {}, lambda _: nothing, who=by.by, what="stop", note=by.note, topic=CANDIDATE
    )
    if by.as_json:
        print_json({"stopped": change is not None})
    else:
        click.echo("no candidate is tried any more" if change is not None else "no candidate was being tried")


@dataclass(frozen=True, slots=True)
class Found:
    """A comparison and where it comes from."""

    trial: Trial
    compared: Compared
    running: bool
    version: str
    """Of the candidate; empty where it is known no more."""
    evidence: str
    """Why it is not known who delivers; empty where it is."""


@shadow.command()
@click.option("--from", "start", default="", metavar="TIME", help="From here on: 2026-11-01T08:00.")
@click.option("--to", "end", default="", metavar="TIME", help="Up to here, itself left out.")
@zone_option
@click.option("--html", "html_file", type=click.Path(path_type=Path), help="Write a page here.")
@click.option("--json", "as_json_", is_flag=True, help="Print JSON: every client that differs.")
@data_option
def report(start: str, end: str, zone: tzinfo, html_file: Path | None, as_json_: bool, data: Path) -> None:
    """Whom the candidate would have refused and who was refused; known senders first.

    Exit code 0: nobody would have been treated differently; 1: somebody would.
    """
    check_page(html_file)
    bounds = [
        moment_in(text, zone, flag=flag) if text else None
        for text, flag in ((start, "--from"), (end, "--to"))
    ]
    found = _found(reach(data), *bounds)
    heading = _heading(found, zone)
    if html_file is not None:
        write_page(html_file, shadow_page(found.compared, heading, zone))
    if as_json_:
        head = {"candidate": found.trial.number, "version": found.version, "running": found.running}
        print_json({**head, **as_json(found.compared)})
    else:
        _print(found.compared, heading, zone)
    raise click.exceptions.Exit(int(bool(found.compared.differences)))


def _found(settings: Settings, start: Instant | None, end: Instant | None) -> Found:
    log = read_policy_log(settings.kafka, CANDIDATE)
    change = log.change
    if change is None:
        raise UsageError("no candidate was ever tried", try_next="goaway shadow try policy.toml")
    running = bool(log.entries)
    trial = read_trial(settings.kafka, change.number)
    if trial is None or (running and trial.number != change.number):
        raise UsageError(
            "no worker has taken the candidate up: it begins with the next event", try_next="goaway status"
        )
    first = min(it.since for it in trial.stretches.values())
    last = _ends(trial, change, running)
    begins, ends = max(first, start or first), min(last, end or last)
    if begins >= ends:
        raise UsageError(
            "the candidate did not judge anything in that period", try_next="goaway shadow report"
        )
    compared = compare(trial.candidate, trial.live, trial.before, begins, ends)
    why = ""
    try:
        clients = [it.client for it in compared.differences]
        compared = with_evidence(compared, delivered(settings.clickhouse, clients, begins, ends))
    except GoawayError as error:
        why = error.what
    return Found(trial, compared, running, change.version if running else "", why)


def _ends(trial: Trial, change: Change, running: bool) -> Instant:
    """When it judged the last time, at most: now, or when it was stopped."""
    if running:
        return now()
    untils = [it.until for it in trial.stretches.values()]
    return max(it if it is not None else change.at for it in untils)


def _heading(found: Found, zone: tzinfo) -> list[str]:
    of, compared = found.trial, found.compared
    version = f", version {found.version}," if found.version else ""
    state = "is being tried" if found.running else "is tried no more"
    lines = [
        f"Candidate {of.number}{version} {state}; "
        f"{local(compared.start, zone)} to {local(compared.end, zone)}."
    ]
    if afresh := sorted(at for it in of.stretches.values() for at in it.afresh):
        lines.append(
            f"It lost what it had counted and began afresh {len(afresh)} times, "
            f"last at {local(afresh[-1], zone)}."
        )
    if compared.left_out:
        lines.append(
            f"Blocked when it began, and left out until that block ends: {compared.left_out:,} clients."
        )
    if found.evidence:
        lines.append(f"Who delivers mail is not known: {found.evidence}.")
    return lines


def _print(found: Compared, heading: list[str], zone: tzinfo) -> None:
    for line in (*heading, in_words(found)):
        print_wrapped(line)
    for known, title in ((True, "Known to deliver mail:"), (False, "Everybody else:")):
        of = [it for it in found.differences if it.legitimate is known]
        if of:
            click.echo(f"\n{title}")
            print_table(_COLUMNS, [_row(it, found, zone) for it in of[:_LINES]], folded=1, spare=_SPARE)
            if len(of) > _LINES:
                click.echo(f"… and {len(of) - _LINES:,} more; --json and --html have them")
    if found.differences:
        click.echo(f"\n{_MEANING}")
    if found.triggers:
        click.echo("")
        totals = [(name, it.candidate, it.live, it.same) for name, it in found.triggers.items()]
        print_table(("blocks", "candidate", "in force", "both"), totals)


def _row(it: Difference, found: Compared, zone: tzinfo) -> tuple[object, ...]:
    first = local(first_of(it), zone, seconds=False)
    return (
        it.client,
        who(it),
        first if found.end - found.start > _YEAR_US else first[5:],
        f"{it.candidate.blocks:,}/{it.live.blocks:,}",
        f"{it.candidate.alone_s:,}/{it.live.alone_s:,}",
        "–" if it.messages is None else f"{it.candidate.messages or 0:,}/{it.messages:,}",
    )
