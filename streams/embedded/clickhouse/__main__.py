"""The child process: `python -m streams.embedded.clickhouse --data DIR`.

Started by `EmbeddedClickHouse`: the password is the first line of standard input, and the end of standard
input (the parent is gone, however it went) is the order to stop. One JSON line on `--ready-fd` says that
clients are welcome, `{"port": …, "version": …}`, or why not, `{"error": …, "try_next": …}`.
"""

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from streams.embedded.clickhouse.engine import Engine, EngineHeldError
from streams.embedded.clickhouse.replies import ServerError
from streams.embedded.clickhouse.server import HOST, Server
from streams.errors import GoawayError, UnavailableError

_MAX_PASSWORD_BYTES: Final = 4096
EXIT_NO_CLEAN_STOP: Final = 70


def main() -> int:
    """Run until told to stop; the exit code is 0, or that of the error."""
    arguments = _arguments()
    password = sys.stdin.readline(_MAX_PASSWORD_BYTES).rstrip("\n")
    with os.fdopen(arguments.ready_fd, "w", encoding="utf-8") as ready:
        try:
            if not password:
                raise UnavailableError("no password on standard input", try_next="goaway up")
            holder = _hold(arguments.data)
            engine = _open(arguments.data)
            engine.create_database(arguments.database)
            asyncio.run(_serve(engine, (arguments.user, password), arguments, ready.fileno()))
        except GoawayError as error:
            ready.write(json.dumps({"error": error.what, "try_next": error.try_next}) + "\n")
            return error.exit_code
    engine.close()
    os.close(holder)
    return 0


async def _serve(
    engine: Engine, credentials: tuple[str, str], arguments: argparse.Namespace, ready: int
) -> None:
    inserts: Path = arguments.data / "inserts"
    server = Server(engine, credentials, inserts)
    try:
        port = await server.listen(arguments.port)
    except OSError as error:
        raise UnavailableError(
            f"ClickHouse cannot listen on {HOST}:{arguments.port}: {os.strerror(error.errno or 0)}",
            try_next=f"ss -ltnp 'sport = {arguments.port}'",
        ) from error
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # Ctrl-C goes to the whole terminal; the order to stop comes from the parent
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    threading.Thread(target=_watch_parent, args=(loop, stop), daemon=True).start()
    version = ".".join(map(str, engine.version))
    os.write(ready, (json.dumps({"port": port, "version": version}) + "\n").encode())
    await stop.wait()
    await server.stop()


def _watch_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop may have ended by itself
        loop.call_soon_threadsafe(stop.set)


def _open(data: Path) -> Engine:
    inserts = data / "inserts"
    inserts.mkdir(mode=0o700, exist_ok=True)
    for left_over in inserts.glob("*.native"):  # of a run that was killed: never inserted
        left_over.unlink()
    os.chdir(inserts)
    try:
        return Engine(data / "engine")
    except EngineHeldError:
        raise UnavailableError(
            f"{data}: another process has this ClickHouse data open",
            try_next=f"fuser -v {data}/engine/status",
        ) from None
    except ServerError as error:
        raise UnavailableError(
            f"{data}: ClickHouse cannot open its data: {error.message}", try_next=f"ls -la {data}/engine"
        ) from None
    except ImportError as error:
        raise UnavailableError(
            f"the embedded ClickHouse is not installed ({error})", try_next="pip install 'goaway[embedded]'"
        ) from None


def _hold(data: Path) -> int:
    """Claim the folder, before the engine's own lock, so that the holder can be named."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(data / "owner.pid", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(file, 20).decode("ascii", "replace").strip()
        raise UnavailableError(
            f"{data}: process {pid} has this ClickHouse data open",
            try_next=f"ps -fp {pid}, or another --data",
        ) from None
    os.ftruncate(file, 0)
    os.write(file, f"{os.getpid()}\n".encode())
    return file


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m streams.embedded.clickhouse", description=__doc__)
    parser.add_argument("--data", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--user", default="default")
    parser.add_argument("--database", default="goaway")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
