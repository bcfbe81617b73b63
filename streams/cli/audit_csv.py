"""The monthly audit as CSV that a spreadsheet opens right: UTF-8 with its mark, formulas disarmed."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from streams.audit.counting import COUNTERS
from streams.audit.monthly import Month
from streams.cli.tables import write_csv
from streams.errors import UnavailableError
from streams.model.instant import rfc3339

_PROPOSALS: Final = (
    "kind",
    "subject",
    "connections",
    "messages",
    "refusals",
    "violations",
    "why",
    "evidence",
    "command",
)
Table = tuple[Sequence[str], Iterable[Sequence[object]]]


def write_proposals(file: Path, month: Month) -> None:
    """All proposals, one a row."""
    _write(file, _proposals(month))


def write_folder(folder: Path, month: Month) -> None:
    """Every table of the review, a file each."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(f"{folder}: {error.strerror}", try_next=f"ls -ld {folder.parent}") from error
    for name, table in _tables(month).items():
        _write(folder / f"{name}.csv", table)


def _write(file: Path, table: Table) -> None:
    try:
        with file.open("w", encoding="utf-8-sig", newline="") as opened:
            write_csv(opened, *table)
    except OSError as error:
        raise UnavailableError(f"{file}: {error.strerror}", try_next=f"ls -ld {file.parent}") from error


def _proposals(month: Month) -> Table:
    return (
        _PROPOSALS,
        (
            (
                it.kind,
                it.subject,
                *(it.evidence.get(name, 0 if name != "connections" else "") for name in _PROPOSALS[2:6]),
                it.why,
                "; ".join(f"{name} {value}" for name, value in it.evidence.items() if value != ""),
                it.command,
            )
            for it in month.proposals
        ),
    )


def _tables(month: Month) -> dict[str, Table]:
    return {
        "proposals": _proposals(month),
        "top": (
            ("client", "ptr", *COUNTERS, "first", "last"),
            (
                (
                    row.name,
                    month.names.get(row.name, ""),
                    *row.counts.values(),
                    rfc3339(row.first),
                    rfc3339(row.last),
                )
                for row in month.top
            ),
        ),
        "refused": (
            ("client", "ptr", *COUNTERS, "why"),
            (
                (
                    it.row.name,
                    it.ptr,
                    *it.row.counts.values(),
                    "; ".join(f"{why} ({n})" for why, n in it.reasons),
                )
                for it in month.refused
            ),
        ),
        "rules": (
            ("trigger", "rule", "shadow", "blocks", "releases", "warnings", "clients"),
            (
                (it.trigger, it.rule, it.shadow, it.blocks, it.releases, it.warnings, it.clients)
                for it in month.rules
            ),
        ),
        "warnings": (
            ("about", "subject", "rule", "times", "highest", "limit", "last", "text"),
            (
                (it.about, it.subject, it.rule, it.times, it.highest, it.limit, rfc3339(it.last), it.text)
                for it in month.warned
            ),
        ),
        "compared": (
            (
                *("client", "what", "connections", "connections_before", "messages", "messages_before"),
                *("refusals", "refusals_before"),
            ),
            ((it.client, it.what, *it.connections, *it.messages, *it.refusals) for it in month.compared),
        ),
        "days": (
            ("day", "connections", "messages", "refusals", "by"),
            (
                (
                    f"{month.name}-{it.day:02d}",
                    it.connections,
                    it.messages,
                    sum(it.refusals.values()),
                    "; ".join(f"{by} {n}" for by, n in it.refusals.items()),
                )
                for it in month.daily
            ),
        ),
        "policy_changes": (
            ("at", "number", "who", "what", "note"),
            ((rfc3339(it.at), it.number, it.who, it.what, it.note) for it in month.changes),
        ),
    }
