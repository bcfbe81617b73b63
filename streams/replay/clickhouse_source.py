"""A stored period as a history: ClickHouse's `events`, in order of time.

The table is ordered by client, so time order is a sort, which the server does slice by slice: each slice is
some hours with at most about `_SLICE_ROWS` rows, so neither side ever holds a month. While one slice is
replayed the server sorts the next, on a second connection.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from clickhouse_driver import Client as Driver
from clickhouse_driver import errors as driver

from streams.errors import UnavailableError
from streams.model.event import Event
from streams.model.instant import Instant
from streams.replay.expected import ANYTHING, Expected, check_client
from streams.replay.extent import Extent
from streams.replay.order import Batch, Batches

_SLICE_ROWS: Final = 400_000
_HOUR_US: Final = 3_600_000_000
_MOST_KNOWN: Final = 200_000

_TEXT: Final = "toString(address)"
_ADDRESS: Final = f"if(startsWith({_TEXT}, '::ffff:'), substring({_TEXT}, 8), {_TEXT})"
_SELECTED: Final = {
    "at": "toUnixTimestamp64Micro(at)",
    "client": f"if(client = {_ADDRESS}, '', client)",
    "address": _ADDRESS,
}
_FIELDS: Final = [it for it in Event.__struct_fields__ if it not in ("source", "position")]
_COLUMNS: Final = ", ".join(_SELECTED.get(it, it) for it in _FIELDS)
_WITHIN: Final = (
    "at >= fromUnixTimestamp64Micro(%(start)s, 'UTC') AND at < fromUnixTimestamp64Micro(%(end)s, 'UTC')"
)
_PLACE: Final = "kafka_epoch, kafka_partition, kafka_offset, frame_index"
_SETTINGS: Final = {"max_bytes_before_external_sort": 400_000_000, "max_block_size": 8192}

# an event made of its fields in their order, which is twice as fast as by their names
_IN_ORDER: Final[Any] = msgspec.defstruct(
    "_StoredEvent",
    [
        (it.name, it.type) if it.required else (it.name, it.type, it.default)
        for it in msgspec.structs.fields(Event)
        if it.name in _FIELDS
    ],
    bases=(Event,),
    gc=False,
    kw_only=False,
)

Columns = Sequence[Sequence[Any]]


class _Blocks:
    """In the place of the driver's result by rows: each block as its columns."""

    def __init__(self, packets: Iterator[Any], *, with_column_types: bool = False) -> None:
        self._packets = packets

    def __iter__(self) -> Iterator[list[Columns]]:
        for packet in self._packets:
            block = getattr(packet, "block", None)
            if block is not None and block.num_rows:
                yield [block.get_columns()]


class StoredPeriod:
    """Events with `start <= at < end`; `connection` are clickhouse-driver's arguments.

    Reading them raises `PolicyError` where a client is not as `expected.prefixes` have it.
    """

    def __init__(
        self,
        connection: Mapping[str, Any],
        start: Instant,
        end: Instant,
        expected: Expected = ANYTHING,
    ) -> None:
        self._connection = dict(connection)
        self._expected = expected
        self._checked = set[tuple[str, str]]()
        self.start, self.end = start, end
        self.extent = Extent()
        self.place = f"ClickHouse at {connection.get('host')}:{connection.get('port')}"

    def batches(self, *, share: int = 0, shares: int = 1) -> Batches:
        """The events of one share of the clients, of all by default."""
        for batch, _ in self.placed(share=share, shares=shares):
            yield batch

    def placed(self, *, share: int = 0, shares: int = 1) -> Iterator[tuple[Batch[Event], Columns]]:
        """As `batches`, each with the columns that say where its events stand among those of all shares;
        of one share alone there are none."""
        places = [self._connected(), self._connected()]
        try:
            slices = self._slices(places[0])
            waiting: Iterator[Columns] | None = None
            for number in range(len(slices) + 1):
                following = None
                if number < len(slices):
                    following = self._read(places[number % 2], *slices[number], share, shares)
                if waiting is not None:
                    yield from self._events(waiting)
                waiting = following
        except (driver.Error, OSError, EOFError) as error:
            raise self._explained(error) from error
        finally:
            for it in places:
                with suppress(Exception):
                    it.disconnect()

    def _connected(self) -> Driver:
        found = Driver(**self._connection)
        found.iter_query_result_cls = _Blocks
        return found

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

    def _read(self, client: Driver, start: int, end: int, share: int, shares: int) -> Iterator[Columns]:
        columns, mine = _COLUMNS, ""
        if shares > 1:
            columns = f"{_COLUMNS}, {_PLACE}"
            mine = f" AND modulo(cityHash64(client), {int(shares)}) = {int(share)}"
        found: Iterator[Columns] = client.execute_iter(
            f"SELECT {columns} FROM events WHERE {_WITHIN}{mine} ORDER BY at, {_PLACE}",  # noqa: S608
            {"start": start, "end": end},
            settings=_SETTINGS,
        )
        return found

    def _events(self, blocks: Iterator[Columns]) -> Iterator[tuple[Batch[Event], Columns]]:
        for columns in blocks:
            events = _made(columns[: len(_FIELDS)])
            if self._expected.prefixes is not None:
                self._check(events)
            self.extent.done += len(events)
            yield Batch(events, events[-1].at), columns[len(_FIELDS) :]

    def _check(self, events: list[Event]) -> None:
        """Each address is looked at once with each client that it has."""
        new: set[tuple[str, str]] = {(event.address, event.client) for event in events}
        new -= self._checked
        if not new:
            return
        for event in events:
            if (event.address, event.client) in new:
                check_client(event, self._expected)
        if len(self._checked) >= _MOST_KNOWN:
            self._checked.clear()
        self._checked |= new

    def _explained(self, error: BaseException) -> UnavailableError:
        said = str(getattr(error, "message", "") or error).partition("Stack trace")[0].strip()[:300]
        return UnavailableError(f"{self.place}: {type(error).__name__}: {said}", try_next="goaway doctor")


_known: Final[dict[str, str]] = {}


def _made(columns: Columns) -> list[Event]:
    """Events of these columns. What has the same address has it as the same text, which the engine's tables
    are faster with; times are plain `int` as in `json_lines`."""
    if len(_known) > _MOST_KNOWN:
        _known.clear()
    by_name = dict(zip(_FIELDS, columns, strict=True))
    addresses = list(map(_known.setdefault, by_name["address"], by_name["address"]))
    by_name["address"] = addresses
    by_name["client"] = [
        client or address for client, address in zip(by_name["client"], addresses, strict=True)
    ]
    return list(map(_IN_ORDER, *by_name.values()))
