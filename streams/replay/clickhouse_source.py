"""A stored period as a history: ClickHouse's `events`, in order of time.

The table is ordered by client, so time order is a sort, which the server does slice by slice: each slice is
some hours with at most about `_SLICE_ROWS` rows, so neither side ever holds a month. While one slice is
replayed the server sorts the next, on a second connection.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from clickhouse_driver import Client as Driver
from clickhouse_driver import errors as driver

from streams.errors import UnavailableError
from streams.model.client import Address, Client
from streams.model.event import Event
from streams.model.instant import Instant
from streams.replay.extent import Extent
from streams.replay.order import Batch, Batches

_SLICE_ROWS: Final = 400_000
_ROWS_AT_ONCE: Final = 4096
_HOUR_US: Final = 3_600_000_000

_TEXT: Final = "toString(address)"
_ADDRESS: Final = f"if(startsWith({_TEXT}, '::ffff:'), substring({_TEXT}, 8), {_TEXT})"
_COLUMNS: Final = f"""toUnixTimestamp64Micro(at), kind, if(client = {_ADDRESS}, '', client), {_ADDRESS}, id,
session, host, ptr, sender, recipient, violation, code, detail, ttl_s, helo, queue_id, sasl_user, size,
service"""
_WITHIN: Final = (
    "at >= fromUnixTimestamp64Micro(%(start)s, 'UTC') AND at < fromUnixTimestamp64Micro(%(end)s, 'UTC')"
)
PLACE: Final = "kafka_epoch, kafka_partition, kafka_offset, frame_index"
_SETTINGS: Final = {"max_bytes_before_external_sort": 400_000_000, "max_block_size": 16_384}


class StoredPeriod:
    """Events with `start <= at < end`; `connection` are clickhouse-driver's arguments."""

    def __init__(self, connection: Mapping[str, Any], start: Instant, end: Instant) -> None:
        self._connection = dict(connection)
        self.start, self.end = start, end
        self.extent = Extent("rows")
        self.place = f"ClickHouse at {connection.get('host')}:{connection.get('port')}"

    def batches(self, *, share: int = 0, shares: int = 1) -> Batches:
        """The events of one share of the clients, of all by default."""
        places = [Driver(**self._connection), Driver(**self._connection)]
        try:
            slices = self._slices(places[0])
            waiting: Iterator[Any] | None = None
            for number in range(len(slices) + 1):
                following = None
                if number < len(slices):
                    following = self._rows(places[number % 2], *slices[number], share, shares)
                if waiting is not None:
                    yield from self._events(waiting)
                waiting = following
        except (driver.Error, OSError, EOFError) as error:
            raise self._explained(error) from error
        finally:
            for it in places:
                with suppress(Exception):
                    it.disconnect()

    def _slices(self, client: Driver) -> list[tuple[int, int]]:
        """Bounds of the parts, each of whole hours with no more rows than fit, or of one hour."""
        hours = client.execute(
            f"SELECT intDiv(toUnixTimestamp64Micro(at), {_HOUR_US}) AS hour, count() FROM events "  # noqa: S608
            f"WHERE {_WITHIN} GROUP BY hour ORDER BY hour",
            {"start": int(self.start), "end": int(self.end)},
        )
        self.extent.total = sum(rows for _, rows in hours)
        found: list[tuple[int, int]] = []
        begins, held = int(self.start), 0
        for hour, rows in hours:
            if held and held + rows > _SLICE_ROWS:
                found.append((begins, hour * _HOUR_US))
                begins, held = hour * _HOUR_US, 0
            held += rows
        return [*found, (begins, int(self.end))] if held else found

    def _rows(self, client: Driver, start: int, end: int, share: int, shares: int) -> Iterator[Any]:
        mine = f" AND cityHash64(client) % {int(shares)} = {int(share)}" if shares > 1 else ""
        found: Iterator[Any] = client.execute_iter(
            f"SELECT {_COLUMNS} FROM events WHERE {_WITHIN}{mine} ORDER BY at, {PLACE}",  # noqa: S608
            {"start": start, "end": end},
            settings=_SETTINGS,
            chunk_size=_ROWS_AT_ONCE,
        )
        return found

    def _events(self, chunks: Iterator[Any]) -> Batches:
        extent = self.extent
        for rows in chunks:
            events = [
                Event(
                    at=Instant(at),
                    kind=kind,
                    client=Client(client or address),
                    address=Address(address),
                    id=id_,
                    session=session,
                    host=host,
                    ptr=ptr,
                    sender=sender,
                    recipient=recipient,
                    violation=violation,
                    code=code,
                    detail=detail,
                    ttl_s=ttl_s,
                    helo=helo,
                    queue_id=queue_id,
                    sasl_user=sasl_user,
                    size=size,
                    service=service,
                )
                for (
                    at, kind, client, address, id_, session, host, ptr, sender, recipient, violation, code,
                    detail, ttl_s, helo, queue_id, sasl_user, size, service,
                ) in rows
            ]  # fmt: skip
            extent.done += len(events)
            if events:
                yield Batch(events, events[-1].at)

    def _explained(self, error: BaseException) -> UnavailableError:
        said = str(getattr(error, "message", "") or error).partition("Stack trace")[0].strip()[:300]
        return UnavailableError(f"{self.place}: {type(error).__name__}: {said}", try_next="goaway doctor")
