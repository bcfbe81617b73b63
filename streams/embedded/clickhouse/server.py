"""The listening side: loopback only, a bounded number of clients, a clean stop."""

import asyncio
from pathlib import Path
from typing import Final

from streams.embedded.clickhouse import replies
from streams.embedded.clickhouse.conversation import Conversation
from streams.embedded.clickhouse.engine import Engine
from streams.embedded.clickhouse.replies import ServerError

HOST: Final = "127.0.0.1"
MAX_CLIENTS: Final = 64
STOP_TIMEOUT_S: Final = 5.0
_TOO_MANY: Final = 202
_READ_AHEAD_BYTES: Final = 1024 * 1024


class Server:
    """Accepts clients and gives each a conversation of its own."""

    def __init__(self, engine: Engine, credentials: tuple[str, str], inserts: Path) -> None:
        """As `Conversation`."""
        self._engine = engine
        self._credentials = credentials
        self._inserts = inserts
        self._conversations: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def listen(self, port: int) -> int:
        """Start to accept on loopback and return the port (0: one that is free). Raises OSError."""
        self._listener = await asyncio.start_server(self._accept, HOST, port, limit=_READ_AHEAD_BYTES)
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Accept no more, give what is being answered a moment, then hang up."""
        if self._listener is not None:
            self._listener.close()
        for conversation in self._conversations:
            conversation.cancel()
        if self._conversations:
            await asyncio.wait(self._conversations, timeout=STOP_TIMEOUT_S)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._conversations) >= MAX_CLIENTS:
            error = ServerError(
                _TOO_MANY, f"DB::Exception: more than {MAX_CLIENTS} clients. (TOO_MANY_SIMULTANEOUS_QUERIES)"
            )
            writer.write(replies.exception(error))
            writer.close()
            return
        conversation = Conversation(self._engine, self._credentials, self._inserts, (reader, writer))
        task = asyncio.create_task(conversation.serve())
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)
