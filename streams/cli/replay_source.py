"""Where a replay's history comes from, by its flags: files, a stored period, a range of Kafka."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from itertools import islice
from pathlib import Path
from typing import Any

import click

from streams.audit.clickhouse import connection_arguments
from streams.cli.options import load_policy, now
from streams.cli.period import moment_in
from streams.cli.policy_names import AS_WAS, DEFAULTS, NAMES, NOW, kept_policy, policies_as_was, policy_now
from streams.cli.reach import reach
from streams.config import Settings
from streams.errors import InvalidValueError, UnavailableError, UsageError
from streams.model.event import FUTURE_US, Event
from streams.model.instant import Instant, rfc3339
from streams.model.policy import Policy
from streams.replay.as_was import AsWas
from streams.replay.clickhouse_source import StoredPeriod
from streams.replay.counts import ReadCounts
from streams.replay.expected import Expected
from streams.replay.extent import Extent
from streams.replay.files import is_file, size_of
from streams.replay.order import Batches
from streams.replay.sources import history
from streams.topics import EVENTS
from streams.wire.policy_words import escaped


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
    paths: tuple[Path, ...] = ()
    """Where the files are to be read, if not under the names that they were given."""
    counts: ReadCounts = field(default_factory=ReadCounts)
    extent: Extent = field(default_factory=Extent)
    _now: Instant = field(default_factory=now)
    _first: tuple[int, ReadCounts] | None = None
    """Of the first of several passes: its events, and what became of the lines."""

    def check(self) -> None:
        """`UsageError` where they do not go together."""
        command = f"goaway {click.get_current_context().info_name}"
        if self.files and (self.start or self.end or self.kafka):
            raise UsageError(
                "FILES and --from, --to or --kafka exclude one another", try_next=f"{command} FILE"
            )
        if not self.files and not self.start:
            raise UsageError(
                "no history is named", try_next=f"{command} FILE, or {command} --from TIME --to TIME"
            )
        if self.start:
            self.period()

    @property
    def settings(self) -> Settings:
        """Where Kafka and ClickHouse are."""
        return reach(self.data)

    def period(self) -> tuple[Instant, Instant]:
        """First instant, and the first that is not in it any more: now, where `--to` is left out."""
        start = moment_in(self.start, self.zone, flag="--from")
        end = moment_in(self.end, self.zone, flag="--to") if self.end else self._now
        if start >= end:
            raise UsageError("the period ends before it begins", try_next="--from 2026-11-01 --to 2026-11-02")
        return start, end

    def judge(self, name: str) -> Policy | AsWas:
        """The policy, or policies, of this name; before the first change the file of `--policy` was in force,
        without one the defaults."""
        if name in (NOW, AS_WAS):
            base = Policy() if self.policy_name in ("", *NAMES) else load_policy(Path(self.policy_name))
            if name == NOW:
                return policy_now(self.settings, base, self.data)
            # a file says when it begins as it is read
            return policies_as_was(self.settings, base, self.period()[0] if self.start else Instant(0))
        if name == DEFAULTS:
            return Policy()
        return load_policy(Path(name)) if name else kept_policy(self.data)

    def policy(self) -> Policy:
        """The policy of `--policy`; with `as-was` that of when the history begins."""
        judge = self.judge(self.policy_name)
        return judge if isinstance(judge, Policy) else judge.as_of(self.begins())[1].policy

    def begins(self) -> Instant:
        """The period's first instant; of files that of the first event."""
        if self.start:
            return self.period()[0]
        if not all(map(is_file, self.paths or self.files)):
            raise UsageError(
                "standard input or a pipe would have to be read twice",
                try_next="save it to a file, and name that",
            )
        looked = replace(self, counts=ReadCounts(), extent=Extent())
        batches = looked.batches(Policy(), check_clients=False)
        return next((it.items[0].at for it in batches if it.items), Instant(0))

    def clients(self, judge: Policy | AsWas) -> Policy:
        """The policy whose `[clients]` a log is read by: of those that were, the latest."""
        return judge if isinstance(judge, Policy) else judge.as_of(self._now)[1].policy

    def judged(self, *judges: Policy | AsWas) -> Batches:
        """The history for these: in files, changes of the policy take hold at the time they were made."""
        as_was = next((it for it in judges if isinstance(it, AsWas)), None)
        batches = self.batches(self.clients(judges[0]), check_clients=as_was is None)
        return as_was.marked(batches) if as_was is not None and self.files else batches

    def again(self, policy: Policy) -> Iterator[Event]:
        """The events from the beginning, counted anew: in each pass as many as in the first, since a log can
        grow while it is read. `UnavailableError` where they have become fewer."""
        self.counts, self.extent = ReadCounts(), Extent()
        batches = self.batches(policy)
        return self._as_many(event for batch in batches for event in batch.items)

    def _as_many(self, events: Iterator[Event]) -> Iterator[Event]:
        done, most = 0, self._first[0] if self._first else None
        for done, event in enumerate(islice(events, most), 1):  # noqa: B007
            yield event
        if self._first is None:
            self._first = done, self.counts
        if done < self._first[0]:
            raise UnavailableError(
                f"the history had {self._first[0]:,} events at first and {done:,} when it was read again",
                try_next="a copy of it that nobody changes",
            )
        self.counts = self._first[1]

    def nothing(self) -> InvalidValueError:
        """The error for a history in which no event was."""
        if self.files:
            names, counts = ", ".join(str(file) for file in self.files)[:200], self.counts
            unread = f", {sum(counts.unreadable.values())} of them unreadable" if counts.unreadable else ""
            look = "goaway parse" if counts.read else "ls -l"
            return InvalidValueError(
                f"{names}: no events in {counts.read} lines{unread}",
                try_next=f"{look} {shlex.quote(str(self.files[0]))}",
            )
        first, last = (rfc3339(it)[:19] + "Z" for it in self.period())
        if self.kafka:
            place, advice = f"{EVENTS} on Kafka at {self.settings.kafka.bootstrap}", "goaway status"
        else:
            stored = self.settings.clickhouse
            place, advice = f"ClickHouse at {stored.host}:{stored.port}", "goaway stats --last 30d"
        return InvalidValueError(f"{place} has no events from {first} to {last}", try_next=advice)

    def words(self) -> str:
        """The flags that name the history, as they are typed."""
        if self.files:
            return shlex.join(map(str, self.files))
        of = ["--from", self.start, *(["--to", self.end] if self.end else ())]
        return shlex.join([*of, *(["--kafka"] if self.kafka else ())])

    def say_counts(self) -> None:
        """What became of the lines, on standard error, with a warning where many could not be read."""
        click.echo(str(self.counts), err=True)
        self.say_doubt()

    def say_doubt(self) -> None:
        """The warning alone."""
        if doubt := self.counts.doubt():
            click.secho(f"note: {escaped(doubt)}", fg="yellow", err=True)

    def expected(self, policy: Policy, *, check_clients: bool = True) -> Expected:
        """What JSON and stored events have to agree with. Under the policies as they were, what a client is
        may have changed."""
        check = check_clients and self.policy_name != AS_WAS
        return Expected(self._now + FUTURE_US, policy.clients if check else None)

    def batches(self, policy: Policy, *, check_clients: bool = True) -> Batches:
        """The history, read while it is gone through. `PolicyError` where an event's client is not what the
        policy makes of its address."""
        expected = self.expected(policy, check_clients=check_clients)
        if self.files:
            paths = self.paths or self.files
            self.extent.total = size_of(list(paths))
            return history(
                paths,
                zone=self.zone,
                reference=self._now,
                prefixes=policy.clients,
                counts=self.counts,
                extent=self.extent,
                check_clients=expected.prefixes is not None,
            )
        if self.kafka:
            from streams.replay.kafka_source import KafkaRange

            start, end = self.period()
            records = KafkaRange(self.settings.kafka, start, end, self.counts, expected)
            self.extent = records.extent
            return records.batches()
        return _counted(self.stored(expected).batches(), self.counts)

    def stored(self, expected: Expected) -> StoredPeriod:
        """The period as ClickHouse has it."""
        found = StoredPeriod(connection_arguments(self.settings.clickhouse), *self.period(), expected)
        self.extent = found.extent
        return found


def _counted(batches: Batches, counts: ReadCounts) -> Batches:
    for batch in batches:
        counts.read += len(batch.items)
        counts.events += len(batch.items)
        yield batch


def source_options(function: Any) -> Any:
    """`FILES`, `--from`, `--to`, `--kafka`"""
    options = (
        click.argument("files", nargs=-1, type=click.Path(path_type=Path, allow_dash=True)),
        click.option(
            "--from", "start", default="", metavar="TIME", help="Take what ClickHouse has from here on."
        ),
        click.option(
            "--to", "end", default="", metavar="TIME", help="Up to here, itself left out; without: now."
        ),
        click.option("--kafka", is_flag=True, help="Read the period from smtp.events, not from ClickHouse."),
    )
    for option in reversed(options):
        function = option(function)
    return function
