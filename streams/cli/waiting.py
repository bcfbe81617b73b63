"""ClickHouse for a person: where it keeps him waiting, he is told for what."""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import click

from streams.audit.clickhouse import ClickHouse
from streams.config import ClickHouseSettings

_SILENT_S: Final = 5.0


class AskedClickHouse(ClickHouse):
    """As `ClickHouse`; its questions say on standard error, if that is a terminal, that they wait."""

    def rows(self, query: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """As `ClickHouse.rows`."""
        with waiting(self.place):
            return super().rows(query, parameters)

    def command(self, statement: str) -> None:
        """As `ClickHouse.command`."""
        with waiting(self.place):
            super().command(statement)

    def create_database(self) -> None:
        """As `ClickHouse.create_database`."""
        with waiting(self.place):
            super().create_database()


@contextmanager
def asked(settings: ClickHouseSettings) -> Iterator[AskedClickHouse]:
    """A connection for as long as the context lasts."""
    clickhouse = AskedClickHouse(settings)
    try:
        yield clickhouse
    finally:
        clickhouse.close()


def place_of(settings: ClickHouseSettings) -> str:
    """What is waited for where a function connects by itself."""
    return ClickHouse(settings).place  # connects when it is first asked


@contextmanager
def waiting(place: str, silent_s: float = _SILENT_S) -> Iterator[None]:
    """Say once what is waited for, where that takes longer than `silent_s`."""
    if not sys.stderr.isatty():
        yield
        return
    timer = threading.Timer(silent_s, click.echo, (f"waiting for {place} …",), {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
