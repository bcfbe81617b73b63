"""`goaway audit`: a month reviewed."""

import shlex
import shutil
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from streams.audit.facts import times
from streams.audit.monthly import Month
from streams.audit.monthly import month as review
from streams.audit.policy_history import entries_at
from streams.audit.proposals import KINDS, Proposal, Thresholds
from streams.audit.report.page import TITLES, report
from streams.audit.stats import Row
from streams.cli.audit_csv import write_folder, write_proposals
from streams.cli.audit_json import month_json
from streams.cli.options import data_option, now, policy_option
from streams.cli.period import month_of
from streams.cli.policy_options import entries_of_file
from streams.cli.reach import reach
from streams.cli.tables import cell, print_json
from streams.cli.waiting import place_of, waiting
from streams.errors import UnavailableError, UsageError
from streams.model.instant import as_datetime, rfc3339

_DEFAULTS: Final = Thresholds()
_SHOWN: Final = 20
_PAGES: Final = (".html", ".htm")


@click.command()
@click.option(
    "--month", "month", default="", metavar="YYYY-MM", help="The month, in UTC; without it the one that runs."
)
@click.option(
    "--exempt-from",
    type=click.IntRange(1),
    default=_DEFAULTS.exempt_from,
    show_default=True,
    help="Connections a month from which on a client that delivers is proposed for exemption.",
)
@click.option(
    "--block-from",
    type=click.IntRange(1),
    default=_DEFAULTS.block_from,
    show_default=True,
    help="Connections a month from which on a client without mail is proposed for blocking.",
)
@click.option(
    "--unused-days",
    type=click.IntRange(1, 3650),
    default=_DEFAULTS.stale_days,
    show_default=True,
    help="An exemption whose addresses were not seen for so long is proposed for removal.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 31),
    help="Of how many days there is data; thresholds are scaled to it. Without it, counted.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=_SHOWN,
    show_default=True,
    help="Proposals of each kind on the screen.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report here: one page, with charts.",
)
@click.option(
    "--csv",
    "csv_to",
    type=click.Path(path_type=Path),
    help="Write CSV: the proposals where it is named .csv, else a folder with every table.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@data_option
@policy_option
def audit(
    month: str,
    exempt_from: int,
    block_from: int,
    unused_days: int,
    days: int | None,
    limit: int,
    html: Path | None,
    csv_to: Path | None,
    as_json: bool,
    data: Path,
    policy_file: Path | None,
) -> None:
    """Review a month: whom to exempt, whom to block, which exemptions are stale, who was refused and why.

    Each proposal has its evidence and the command that would do it. Nothing is changed.
    """
    _checked(html, csv_to)
    at = now()
    start, end = month_of(month or f"{as_datetime(at):%Y-%m}")
    settings = reach(data).clickhouse
    with waiting(place_of(settings)):
        entries = entries_at(settings, at) or (entries_of_file(policy_file) if policy_file else {})
        found = review(
            settings,
            start,
            end,
            thresholds=Thresholds(exempt_from, block_from, unused_days),
            entries=entries,
            now=at,
            days=days,
        )
    if html is not None:
        _write(html, report(found))
    if csv_to is not None:
        if csv_to.suffix.lower() == ".csv":
            write_proposals(csv_to, found)
        else:
            write_folder(csv_to, found)
    if as_json:
        print_json(month_json(found))
    elif html is None and csv_to is None:
        click.echo("\n".join(_lines(found, limit)))
    for file in (html, csv_to):
        if file is not None:
            click.echo(f"written: {file}", err=True)


def _checked(html: Path | None, csv_to: Path | None) -> None:
    """`UsageError` where CSV would go into the page, or a folder of it where a file is."""
    if csv_to is None:
        return
    suffix = csv_to.suffix.lower()
    try_next = f"goaway audit --csv {shlex.quote(str(csv_to.with_suffix('.csv')))}"
    if html is not None and csv_to.resolve() == html.resolve():
        raise UsageError(f"{csv_to}: --html and --csv name the same file", try_next=try_next)
    if suffix == ".csv" and csv_to.is_dir():
        folder = shlex.quote(str(csv_to.with_suffix("")))
        raise UsageError(
            f"{csv_to} is a folder, and named as a file", try_next=f"goaway audit --csv {folder}"
        )
    if suffix in _PAGES or (suffix != ".csv" and csv_to.is_file()):
        raise UsageError(f"{csv_to}: --csv takes a folder, or a file named .csv", try_next=try_next)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"{file}: {error.strerror}", try_next=f"ls -ld {file.parent}") from error


def _lines(month: Month, limit: int) -> Iterable[str]:
    yield (
        click.style(f"Audit of {month.name}", bold=True)
        + f" (UTC; {month.days} of {month.days_in_month} days have data)"
    )
    if month.total is None:
        yield "Nothing was seen in this month."
        return
    ours = f"{month.total.counts['go_aways']:,} of them by Goaway"
    yield f"{_figures(month.total)}, {ours}"
    if month.before is not None:
        yield f"the month before: {_figures(month.before)}"
    for remark in month.remarks:
        yield from (click.style(it, fg="yellow") for it in _folded(cell(remark, 400), "note: ", "  "))
    for kind in KINDS:
        some = [it for it in month.proposals if it.kind == kind]
        if some:
            yield ""
            title, what = TITLES[kind]
            yield click.style(f"{title} ({len(some)})", bold=True)
            yield from _folded(what, "", "")
            for it in some[:limit]:
                yield from _proposal(it)
            if len(some) > limit:
                yield f"and {len(some) - limit} more: --limit {len(some)}, --csv or --html"
    if month.refused:
        yield ""
        yield click.style("Refused most", bold=True)
        for row in month.refused[:10]:
            why = "; ".join(f"{cell(text, 70)} ({count:,})" for text, count in row.reasons[:2])
            name = f"{cell(row.row.name, 43)}: {times(row.row.counts['refusals'], 'refusal')}"
            yield from _folded(f"{name}. {why}", "- ", "  ")
    if month.changes:
        yield ""
        yield click.style("Changes of the policy", bold=True)
        for change in month.changes[:10]:
            note = f" ({cell(change.note)})" if change.note else ""
            what = f"{change.number} by {cell(change.who, 64)}: {cell(change.what)}{note}"
            yield from _folded(f"{rfc3339(change.at)[:16]}Z {what}", "- ", "    ")


def _figures(row: Row) -> str:
    counted = {"client": row.clients} | {
        name.removesuffix("s"): row.counts[name] for name in ("connections", "messages", "refusals")
    }
    return ", ".join(f"{count:,} {name}{'' if count == 1 else 's'}" for name, count in counted.items())


def _proposal(it: Proposal) -> Iterable[str]:
    first, *rest = _folded(f"{cell(it.subject, 64)}: {cell(it.why, 300)}", "- ", "  ")
    subject = cell(it.subject, 64)
    yield first.replace(subject, click.style(subject, bold=True), 1)
    yield from rest
    shown = ", ".join(
        f"{name.replace('_', ' ')} {cell(value, 120)}" for name, value in it.evidence.items() if value != ""
    )
    yield from _folded(shown, "    ", "    ")
    if it.command:
        yield f"    {cell(it.command, 600)}"


def _folded(text: str, first: str, rest: str) -> list[str]:
    """The text in lines that fit the terminal. Commands are not folded: they are to be copied."""
    width = max(40, shutil.get_terminal_size().columns - 1)
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    ) or [first]
