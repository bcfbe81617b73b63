"""One client's conversation: greeting, then queries, one after another.

Packets are read all the while, so that a Cancel or a hang-up reaches a query that is running. The engine
works in a thread that belongs to this client; the event loop never waits for it.
"""

import asyncio
import contextlib
import hmac
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar
from uuid import uuid4

from streams.embedded.clickhouse import replies
from streams.embedded.clickhouse.compression import NoCompressionError, checksum, method_byte
from streams.embedded.clickhouse.engine import Engine
from streams.embedded.clickhouse.feed import NativeProtocolError
from streams.embedded.clickhouse.native import block_size
from streams.embedded.clickhouse.packets import (
    OLDEST_REVISION,
    Cancel,
    Data,
    Hello,
    Packet,
    PacketReader,
    Ping,
    Query,
)
from streams.embedded.clickhouse.replies import ServerError
from streams.embedded.clickhouse.session import Session
from streams.embedded.clickhouse.statement import DataInsert, data_insert

T = TypeVar("T")

GREETING_TIMEOUT_S: Final = 10.0
_CHUNK_BYTES: Final = 1024 * 1024
_PACKETS_AHEAD: Final = 4
_KILL_AGAIN_S: Final = 0.1
_UNKNOWN_PACKET: Final = 99
_UNEXPECTED_PACKET: Final = 101
_NO_EXTERNAL_TABLES: Final = 48
_NO_COMPRESSION: Final = 89
_TOO_OLD: Final = 48
_WRONG_PASSWORD: Final = 516
_CANCELLED: Final = 394


class _HungUpError(Exception):
    """The client is gone."""


class Conversation:
    """Serves one connection until the client leaves or breaks the protocol."""

    def __init__(
        self,
        engine: Engine,
        credentials: tuple[str, str],
        inserts: Path,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """`credentials` are user and password; `inserts` is the working directory, where rows wait."""
        self._engine = engine
        self._credentials = credentials
        self._inserts = inserts
        self._reader, self._writer = streams
        self._packet_reader = PacketReader()
        self._packets: asyncio.Queue[Packet | Exception] = asyncio.Queue(_PACKETS_AHEAD)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clickhouse-session")
        self._session: Session | None = None
        self._running = False
        self._cancelled = False
        self._killing: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Talk until the end; whatever happens concerns this connection only."""
        reading = asyncio.create_task(self._read())
        try:
            await self._talk()
        except (_HungUpError, ConnectionError, TimeoutError):
            pass
        except ServerError as error:
            await self._farewell(error)
        except NativeProtocolError as error:
            await self._farewell(
                ServerError(_UNKNOWN_PACKET, f"DB::Exception: {error}. (UNKNOWN_PACKET_FROM_CLIENT)")
            )
        except NoCompressionError as error:
            await self._farewell(
                ServerError(_NO_COMPRESSION, f"DB::Exception: {error}. (UNKNOWN_COMPRESSION_METHOD)")
            )
        finally:
            reading.cancel()
            self._cancel()
            if self._session is not None:
                with contextlib.suppress(RuntimeError):
                    await self._in_thread(self._session.close)
            self._thread.shutdown(wait=False)
            self._writer.close()

    async def _read(self) -> None:
        try:
            while chunk := await self._reader.read(_CHUNK_BYTES):
                for packet in self._packet_reader.feed(chunk):
                    if isinstance(packet, Cancel):
                        self._cancel()
                        continue
                    if isinstance(packet, Query):
                        self._cancelled = False
                    await self._packets.put(packet)
            raise _HungUpError
        except Exception as error:  # handed over: the talking side knows what to do
            self._cancel()
            await self._packets.put(error)

    async def _talk(self) -> None:
        async with asyncio.timeout(GREETING_TIMEOUT_S):
            greeting = await self._next()
        if not isinstance(greeting, Hello):
            raise NativeProtocolError("no greeting")
        self._check(greeting)
        self._session = await self._in_thread(lambda: self._engine.session(greeting.database))
        self._writer.write(replies.hello(self._engine.version, self._engine.timezone))
        while True:
            await self._writer.drain()
            match await self._next():
                case Ping():
                    self._writer.write(replies.PONG)
                case Query() as query:
                    await self._answer(query, self._session)
                case Data(_, block) if block_size(block)[0] == 0:
                    pass  # the end of data for a query that has failed already
                case Data():
                    raise ServerError(
                        _UNEXPECTED_PACKET,
                        "DB::Exception: Data without a query. (UNEXPECTED_PACKET_FROM_CLIENT)",
                    )
                case packet:
                    raise NativeProtocolError(f"{type(packet).__name__} after the greeting")

    def _check(self, greeting: Hello) -> None:
        if greeting.revision < OLDEST_REVISION:
            raise ServerError(
                _TOO_OLD,
                f"DB::Exception: protocol revision {greeting.revision} is too old. (NOT_IMPLEMENTED)",
            )
        user, password = (value.encode() for value in self._credentials)
        right_user = hmac.compare_digest(greeting.user.encode(), user)
        if not (hmac.compare_digest(greeting.password.encode(), password) and right_user):
            raise ServerError(
                _WRONG_PASSWORD,
                f"DB::Exception: {greeting.user[:99]}: Authentication failed: password is incorrect,"
                " or there is no user with such name. (AUTHENTICATION_FAILED)",
            )

    async def _answer(self, query: Query, session: Session) -> None:
        if query.compressed:
            checksum()  # say so now, where the package is missing
        await self._end_of_external_tables()
        wanted = next((s.value for s in query.settings if s.name == "network_compression_method"), "LZ4")
        method = method_byte(wanted) if query.compressed else None
        try:
            if (insert := data_insert(query.text)) is not None:
                await self._insert(insert, query, session, method)
            else:
                await self._select(query, session, method)
        except ServerError as error:
            if self._cancelled and error.code == _CANCELLED:
                self._writer.write(replies.END_OF_STREAM)
            else:
                self._writer.write(replies.exception(error))
        else:
            self._writer.write(replies.END_OF_STREAM)

    async def _end_of_external_tables(self) -> None:
        packet = await self._next()
        if not isinstance(packet, Data):
            raise NativeProtocolError(f"{type(packet).__name__} where data was due")
        if block_size(packet.block)[0]:
            raise ServerError(
                _NO_EXTERNAL_TABLES, "DB::Exception: External tables are not supported. (NOT_IMPLEMENTED)"
            )

    async def _select(self, query: Query, session: Session, method: int | None) -> None:
        blocks = session.run(query.text, query.settings)
        self._running = True
        try:
            while (
                not self._cancelled
                and (block := await self._in_thread(lambda: next(blocks, None))) is not None
            ):
                self._writer.write(replies.data(block, method))
                self._writer.write(replies.progress(block_size(block)[1], len(block)))
                await self._writer.drain()
        except asyncio.CancelledError:  # the server stops
            self._cancel()
            raise
        finally:
            await self._in_thread(blocks.close)
            self._running = False
            if self._killing is not None:  # or it would hit the next query
                await self._killing

    async def _insert(self, insert: DataInsert, query: Query, session: Session, method: int | None) -> None:
        columns = await self._in_thread(lambda: session.columns(insert))
        self._writer.write(replies.table_columns(_column_list(columns)))
        self._writer.write(replies.data(replies.sample_block(columns), method))
        await self._writer.drain()
        file = self._inserts / f"{uuid4().hex}.native"
        try:
            rows = await self._receive_rows(file)
            if rows and not self._cancelled:
                await self._in_thread(lambda: session.insert(insert, file.name, rows, query.settings))
                self._writer.write(replies.progress(rows, 0))
        finally:
            file.unlink(missing_ok=True)

    async def _receive_rows(self, file: Path) -> int:
        rows = 0
        with file.open("wb") as sink:
            while True:
                packet = await self._next()
                if not isinstance(packet, Data):
                    raise NativeProtocolError(f"{type(packet).__name__} between blocks of data")
                block_columns, block_rows = block_size(packet.block)
                if block_columns == 0:
                    return rows
                if block_rows:
                    sink.write(packet.block)
                rows += block_rows

    async def _next(self) -> Packet:
        packet = await self._packets.get()
        if isinstance(packet, Exception):
            raise packet
        return packet

    def _cancel(self) -> None:
        """Stop a query that runs; an INSERT whose rows are all here is finished, not torn."""
        self._cancelled = True
        if self._running and self._killing is None:
            self._killing = asyncio.create_task(self._kill())

    async def _kill(self) -> None:
        # more than once: the engine may not have listed the query yet
        while self._running and self._session is not None:
            await asyncio.to_thread(self._engine.kill, self._session.name)
            await asyncio.sleep(_KILL_AGAIN_S)
        self._killing = None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _farewell(self, error: ServerError) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            self._writer.write(replies.exception(error))
            async with asyncio.timeout(GREETING_TIMEOUT_S):
                await self._writer.drain()


def _column_list(columns: list[tuple[str, str]]) -> str:
    return f"columns format version: 1\n{len(columns)} columns:\n" + "".join(
        f"`{name}` {type_name}\n" for name, type_name in columns
    )
