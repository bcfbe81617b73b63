"""`goaway search`: what was logged and decided, found and opened."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final

import click

from streams.audit.clickhouse import ClickHouse
from streams.audit.filters import OTHER, check, check_rule
from streams.audit.hits import Cursor, Hit, instant_of_short, parse_cursor
from streams.audit.kept import kept
from streams.audit.search import Query
from streams.audit.search import search as run
from streams.audit.story import story as tell
from streams.cli.hits import COLUMNS, hit_fields, hit_json, hit_lines
from streams.cli.kept import elsewhen
from streams.cli.options import data_option, exclusive, now
from streams.cli.period import local, networks_of, period, period_options
from streams.cli.reach import reach
from streams.cli.story import print_story, story_json
from streams.cli.tables import print_csv, print_json
from streams.cli.waiting import asked, place_of, waiting
from streams.errors import GoawayError, InvalidValueError, UnavailableError, UsageError
from streams.model.instant import MICROSECONDS, Instant
from streams.wire.postfix.ours import SPOKEN

TRIGGERS: Final = (*SPOKEN, OTHER)
_POLL_S: Final = 2.0
_LATE_US: Final = 300 * MICROSECONDS
"""What arrives so much later than newer hits is still shown by --follow."""
_REMEMBERED: Final = 100_000
_MOST: Final = 10_000


@click.command()
@click.argument("addresses", nargs=-1)
@click.option(
    "--code",
    "codes",
    multiple=True,
    type=click.IntRange(400, 599),
    help="Reply code of a refusal, such as 551; may be repeated.",
)
@click.option("--refused", is_flag=True, help="Only refusals: every code of 400 and above.")
@click.option("--text", default="", help="Part of the refusal or reason, such as 'Go away'.")
@click.option(
    "--sender", default="", help="Part of the envelope sender; with * the whole of it; <> of bounces."
)
@click.option("--recipient", default="", help="Part of the envelope recipient; with * the whole of it.")
@click.option(
    "--trigger",
    type=click.Choice(TRIGGERS),
    metavar="|".join(TRIGGERS),
    help="What brought the refusal about.",
)
@click.option("--rule", default="", help="The limit's own name: requests_per_minute, …; decisions only.")
@click.option("--host", default="", help="The MTA's own host name.")
@click.option(
    "--what",
    type=click.Choice(["both", "events", "decisions"]),
    default="both",
    show_default=True,
    help="What to search.",
)
@period_options
@click.option("--limit", type=click.IntRange(1, _MOST), default=50, show_default=True, help="Hits on a page.")
@click.option(
    "--before", default="", metavar="CURSOR", help="The next page: what the page before ended with."
)
@click.option("--follow", is_flag=True, help="Go on with what comes in.")
@click.option(
    "--story", default=None, metavar="ID", help="Open one hit: its session, decision, evidence and policy."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one hit a line.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@data_option
def search(
    addresses: tuple[str, ...],
    codes: tuple[int, ...],
    refused: bool,
    text: str,
    sender: str,
    recipient: str,
    trigger: str | None,
    rule: str,
    host: str,
    what: Any,
    last: str,
    day: str,
    start: str,
    end: str,
    zone: tzinfo,
    limit: int,
    before: str,
    follow: bool,
    story: str | None,
    as_json: bool,
    as_csv: bool,
    data: Path,
) -> None:
    """Find what was logged and decided, newest first, about ADDRESSES (an address or CIDR each) or anybody.

    All that is given must hold. Without a period: the last 7 days.
    """
    exclusive(as_json=as_json, as_csv=as_csv)
    filters = (addresses, codes, refused, text, sender, recipient, trigger, rule, host, what != "both")
    if story is not None and any((*filters, before, follow, as_csv)):
        raise UsageError(
            "--story opens one hit: of the other flags only a period, --timezone and --json go with it",
            try_next="goaway search --story ID",
        )
    if story == "":
        raise UsageError("--story: the id is empty", try_next="the id at the end of a hit's first line")
    settings = reach(data).clickhouse
    if follow and (before or end or day):
        raise UsageError(
            "--follow looks forward: --before, --to and --day do not go with it",
            try_next="--follow --last 1h",
        )
    first, until = period(last, day, start, end, zone, default="3650d" if story else "7d")
    if story:
        with waiting(place_of(settings)):
            found = tell(settings, story, first, until)
        if found is None:
            raise GoawayError(f"nothing of id {story[:64]!r} is stored", try_next="goaway search --last 24h")
        if as_json:
            print_json(story_json(found))
        else:
            print_story(found, zone)
        return
    query = Query(
        start=first,
        end=until,
        what=what,
        codes=codes,
        text=text,
        networks=networks_of(addresses, "goaway search"),
        sender=sender,
        recipient=recipient,
        trigger=trigger or "",
        rule=rule,
        host=host,
        refused=refused,
        before=_cursor(before),
        limit=limit,
    )
    check(query)
    with asked(settings) as clickhouse:
        check_rule(clickhouse, rule)
        hits = run(clickhouse, query)
        if follow:
            _follow(clickhouse, query, hits, zone, as_json=as_json, as_csv=as_csv)
            return
        _show(hits, zone, as_json=as_json, as_csv=as_csv)
        if not hits:
            click.echo(f"nothing found from {local(first, zone)} to {local(until, zone)} {zone}", err=True)
            table = "decisions" if rule or what == "decisions" else "events"
            if said := elsewhen(kept(clickhouse, table), first, until, zone, table):
                click.echo(said, err=True)
        elif len(hits) == limit:
            click.echo(f"older ones: --before {hits[-1].cursor}", err=True)


def _cursor(text: str) -> Cursor | None:
    if instant_of_short(text) is not None:
        raise UsageError(
            f"--before: {text} is the id of a hit, not the place where a page ended",
            try_next=f"--to TIME, or goaway search --story {text}",
        )
    try:
        return parse_cursor(text) if text else None
    except InvalidValueError as error:
        raise UsageError(f"--before: {error.what}", try_next=error.try_next) from error


def _follow(
    clickhouse: ClickHouse, query: Query, hits: list[Hit], zone: tzinfo, *, as_json: bool, as_csv: bool
) -> None:
    """Show what there is, oldest first, then what comes in until interrupted; each hit once.

    What was left out at the beginning is older than what was shown then, and stays left out.
    """
    left_out = hits[-1].cursor if len(hits) == query.limit else Cursor(query.start, "")
    shown: OrderedDict[str, None] = OrderedDict()
    heading = True
    newest = query.start
    while True:
        fresh = [hit for hit in reversed(hits) if hit.id not in shown and not _before(hit, left_out)]
        _show(fresh, zone, as_json=as_json, as_csv=as_csv, heading=heading)
        heading = False
        for hit in fresh:
            shown[hit.id] = None
            newest = max(newest, hit.at)
        while len(shown) > _REMEMBERED:
            shown.popitem(last=False)
        time.sleep(_POLL_S)
        at = now()
        start = Instant(max(left_out.at, min(newest, at) - _LATE_US))
        later = replace(query, start=start, end=Instant(at + _LATE_US), limit=_MOST)
        try:
            hits = run(clickhouse, later)
        except UnavailableError as error:  # it may come back; what is missed meanwhile is looked up then
            click.echo(f"goaway: {error.what}", err=True)
            hits = []


def _before(hit: Hit, place: Cursor) -> bool:
    return (hit.at, hit.id) < (place.at, place.id)


def _show(hits: Sequence[Hit], zone: tzinfo, *, as_json: bool, as_csv: bool, heading: bool = True) -> None:
    if as_json:
        for hit in hits:
            print_json(hit_json(hit))
    elif as_csv:
        rows = [[it[name] for name in COLUMNS] for it in map(hit_fields, hits)]
        if heading:
            print_csv(COLUMNS, rows)
        else:
            print_csv(rows[0], rows[1:]) if rows else None
    else:
        for hit in hits:
            click.echo("\n".join(hit_lines(hit, zone)))
