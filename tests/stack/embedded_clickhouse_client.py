"""A client of the embedded ClickHouse, as any other program would be one."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clickhouse_driver import Client

from streams.config import ClickHouseSettings


@contextmanager
def connected(server: ClickHouseSettings, **options: Any) -> Iterator[Client]:
    """A clickhouse-driver client; `options` are its own, over the server's address and password."""
    defaults = {
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "database": server.database,
        "send_receive_timeout": 60,
    }
    client = Client(server.host, **(defaults | options))
    try:
        yield client
    finally:
        client.disconnect()


def answer_to(server: ClickHouseSettings, raw: bytes) -> bytes:
    """What the port says to raw bytes before it hangs up; the bytes are all that is sent."""
    answer = b""
    with socket.create_connection((server.host, server.port), timeout=20) as connection:
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionError:
            pass
    return answer
