"""Where the shim listens: `inet:HOST:PORT` and `unix:PATH`, as Postfix writes them, and their sockets."""

import os
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from streams.config import parse_host_port
from streams.errors import UnavailableError, UsageError

BACKLOG: Final = 511
_EXAMPLE: Final = "inet:127.0.0.1:10040 or unix:/run/goaway/policy"


@dataclass(frozen=True, slots=True)
class Inet:
    """A TCP address; port 0 is any free one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Unix:
    """The path of a unix socket."""

    path: Path


Listen = Inet | Unix


def parse_listen(text: str) -> Listen:
    """One `--policy-listen`, or `UsageError`."""
    kind, _, where = text.partition(":")
    if kind == "inet" and where:
        host, port = parse_host_port(where, name="listen address")
        return Inet(host, port)
    if kind == "unix" and where:
        return Unix(Path(where))
    raise UsageError(
        f"listen address {text[:99]!r} is neither inet:HOST:PORT nor unix:PATH", try_next=_EXAMPLE
    )


def open_listener(where: Listen, *, socket_mode: int, allow_remote: bool) -> list[socket.socket]:
    """Listening sockets of one address: one, or one per address that a host name has."""
    if isinstance(where, Unix):
        return [_unix(where.path, socket_mode)]
    return _inet(where, allow_remote)


def address_of(listener: socket.socket) -> str:
    """The address in the words of Postfix, with the port that was really bound."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"inet:[{host}]:{port}" if ":" in host else f"inet:{host}:{port}"


def remove_socket_files(addresses: Iterable[str]) -> None:
    """Remove the files of unix sockets that are closed for good."""
    for address in addresses:
        kind, _, path = address.partition(":")
        if kind == "unix":
            Path(path).unlink(missing_ok=True)


def _inet(where: Inet, allow_remote: bool) -> list[socket.socket]:
    name = f"inet:{where.host}:{where.port}"
    try:
        found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise UnavailableError(
            f"{name}: {where.host!r} is no address here ({error.strerror})", try_next=_EXAMPLE
        ) from error
    listeners = []
    for family, _, _, _, address in dict.fromkeys(found):
        if not allow_remote and not ip_address(str(address[0]).partition("%")[0]).is_loopback:
            raise UsageError(
                f"{name} is reachable from other machines, and the protocol knows no authentication",
                try_next="inet:127.0.0.1:PORT or unix:PATH; behind a firewall, --allow-remote",
            )
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise UnavailableError(
                f"cannot listen on {name} ({error.strerror})", try_next=f"ss -ltnp 'sport = :{where.port}'"
            ) from error
        listeners.append(listener)
    return listeners


def _unix(path: Path, mode: int) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # nobody may connect between bind and chmod; the umask is the process's, so this runs before threads start
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
        path.chmod(mode)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UnavailableError(
            f"cannot listen on unix:{path} ({error.strerror or error})", try_next=f"ls -ld {path.parent}"
        ) from error
    finally:
        os.umask(before)
    return listener


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on; `UnavailableError` for anything else in its place."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise UnavailableError(f"unix:{path} is a file, not a socket", try_next=f"ls -l {path}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
        return
    except OSError as error:
        raise UnavailableError(f"unix:{path}: {error.strerror or error}", try_next=f"ls -l {path}") from error
    raise UnavailableError(f"unix:{path} is in use: another shim answers there", try_next="goaway status")
