"""Where a replay's history comes from, by its flags: files, a stored period, a range of Kafka."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any

import click

from streams.audit.clickhouse import connection_arguments
from streams.audit.policy_history import changes, entries_at
from streams.cli.options import load_policy, now
from streams.cli.period import moment_in
from streams.cli.reach import reach
from streams.config import Settings
from streams.errors import UsageError
from streams.model.instant import Instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.as_was import AsWas, KnownChange
from streams.replay.counts import ReadCounts
from streams.replay.extent import Extent
from streams.replay.files import size_of
from streams.replay.order import Batches
from streams.replay.sources import history
from streams.wire.policy_entries import policy_of

AS_WAS = "as-was"
_MOST_CHANGES = 1_000_000


@dataclass(slots=True)
class Asked:
    """What the flags say."""

    files: tuple[Path, ...]
    start: str
    end: str
    kafka: bool
    zone: tzinfo
    data: Path
    policy_name: str = ""
    counts: ReadCounts = field(default_factory=ReadCounts)
    extent: Extent = field(default_factory=Extent)

    def check(self) -> None:
        """`UsageError` where they do not go together."""
        if self.files and (self.start or self.kafka):
            raise UsageError("FILES and --from or --kafka exclude one another", try_next="goaway replay FILE")
        if not self.files and not self.start:
            raise UsageError("nothing to replay", try_next="goaway replay FILE, or --from TIME --to TIME")

    @property
    def settings(self) -> Settings:
        """Where Kafka and ClickHouse are."""
        return reach(self.data)

    def period(self) -> tuple[Instant, Instant]:
        """First instant, and the first that is not in it any more: now, where `--to` is left out."""
        start = moment_in(self.start, self.zone, flag="--from")
        end = moment_in(self.end, self.zone, flag="--to") if self.end else now()
        if start >= end:
            raise UsageError("the period ends before it begins", try_next="--from 2026-11-01 --to 2026-11-02")
        return start, end

    def policy(self) -> Policy:
        """The policy of `--policy`; without it what `goaway up` keeps as the one in force, else the defaults.

        With `as-was` it is what was in force before the first change.
        """
        kept = self.data / "policy.toml"
        if self.policy_name and self.policy_name != AS_WAS:
            return load_policy(Path(self.policy_name))
        return load_policy(kept) if kept.is_file() and not self.policy_name else load_policy(None)

    def as_was(self, base: Policy, start: Instant) -> AsWas:
        """The policies as ClickHouse has them."""
        return as_was(self.settings, base, start)

    def batches(self, policy: Policy) -> Batches:
        """The history, read while it is gone through."""
        if self.files:
            self.extent.total = size_of(list(self.files))
            return history(
                self.files,
                zone=self.zone,
                reference=now(),
                prefixes=policy.clients,
                counts=self.counts,
                extent=self.extent,
            )
        start, end = self.period()
        if self.kafka:
            from streams.replay.kafka_source import KafkaRange

            records = KafkaRange(self.settings.kafka, start, end, self.counts)
            self.extent = records.extent
            return records.batches()
        from streams.replay.clickhouse_source import StoredPeriod

        stored = StoredPeriod(connection_arguments(self.settings.clickhouse), start, end)
        self.extent = stored.extent
        return _counted(stored.batches(), self.counts)


def as_was(settings: Settings, base: Policy, start: Instant) -> AsWas:
    """The policies as ClickHouse has them; `base` was in force before the first change."""
    stored = settings.clickhouse
    known = [KnownChange(it.number, it.at, it.version) for it in changes(stored, limit=_MOST_CHANGES)]

    def load(change: KnownChange) -> PolicyIndex:
        return PolicyIndex(policy_of(entries_at(stored, change.at)))

    return AsWas(known, load, PolicyIndex(base), start)


def _counted(batches: Batches, counts: ReadCounts) -> Batches:
    for batch in batches:
        counts.read += len(batch.items)
        counts.events += len(batch.items)
        yield batch


@contextmanager
def shown(extent_of: Any, what: str) -> Iterator[None]:
    """Progress on standard error while this lasts: how much of how much, how fast, how long still. Only in a
    terminal. `extent_of()` is asked anew each time."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    import threading

    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn(what),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    over = threading.Event()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None, amount="")

        def follow() -> None:
            while not over.wait(0.25):
                extent: Extent = extent_of()
                progress.update(
                    task, total=extent.total, completed=extent.done, amount=_amount(extent, progress)
                )

        def _amount(extent: Extent, progress: Progress) -> str:
            speed = progress.tasks[0].speed or 0
            of = f" of {_number(extent.total, extent.unit)}" if extent.total else ""
            return f"{_number(extent.done, extent.unit)}{of}, {_number(speed, extent.unit)}/s"

        threading.Thread(target=follow, daemon=True).start()
        try:
            yield
        finally:
            over.set()


def _number(amount: float, unit: str) -> str:
    return f"{amount / 1e6:,.1f} MB" if unit == "bytes" else f"{amount:,.0f} {unit}"


def source_options(function: Any) -> Any:
    """`FILES`, `--from`, `--to`, `--kafka`"""
    options = (
        click.argument("files", nargs=-1, type=click.Path(path_type=Path, allow_dash=True)),
        click.option(
            "--from", "start", default="", metavar="TIME", help="Replay what ClickHouse has from here on."
        ),
        click.option(
            "--to", "end", default="", metavar="TIME", help="Up to here, itself left out; without: now."
        ),
        click.option("--kafka", is_flag=True, help="Read the period from smtp.events, not from ClickHouse."),
    )
    for option in reversed(options):
        function = option(function)
    return function
