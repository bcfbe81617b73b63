"""Listen addresses: what is read, what is refused, whose socket file is removed."""

import socket
import stat
from pathlib import Path

import pytest

from streams.errors import GoawayError
from streams.shim.listen import Inet, Unix, address_of, open_listener, parse_listen, remove_socket_files


def _open(text: str, *, mode: int = 0o660, allow_remote: bool = False) -> list[socket.socket]:
    return open_listener(parse_listen(text), socket_mode=mode, allow_remote=allow_remote)


def test_reads_addresses_as_postfix_writes_them() -> None:
    assert parse_listen("inet:127.0.0.1:10040") == Inet("127.0.0.1", 10040)
    assert parse_listen("inet:[::1]:10040") == Inet("::1", 10040)
    assert parse_listen("unix:/run/goaway/policy") == Unix(Path("/run/goaway/policy"))


@pytest.mark.parametrize("text", ["", "inet", "inet:", "unix:", "10040", "inet:127.0.0.1", "tcp:127.0.0.1:1"])
def test_says_what_an_address_looks_like(text: str) -> None:
    with pytest.raises(GoawayError, match="Try: "):
        parse_listen(text)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1"])
def test_an_address_that_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(GoawayError, match="reachable from other machines"):
        _open(f"inet:{host}:0")


def test_unless_it_is_allowed() -> None:
    (listener,) = _open("inet:0.0.0.0:0", allow_remote=True)
    listener.close()


def test_a_port_in_use_is_named() -> None:
    (first,) = _open("inet:127.0.0.1:0")
    with first, pytest.raises(GoawayError, match=r"cannot listen on inet:127.0.0.1:.* in use"):
        _open(address_of(first))


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_unix_socket_has_the_mode_asked_for(tmp_path: Path, mode: int) -> None:
    (listener,) = _open(f"unix:{tmp_path}/policy", mode=mode)
    with listener:
        assert stat.S_IMODE((tmp_path / "policy").stat().st_mode) == mode
    remove_socket_files([f"unix:{tmp_path}/policy", "inet:127.0.0.1:1"])
    assert not (tmp_path / "policy").exists()


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    text = f"unix:{tmp_path}/policy"
    (stale,) = _open(text)
    stale.close()
    (live,) = _open(text)
    with live, pytest.raises(GoawayError, match="in use"):
        _open(text)


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "policy"
    path.write_text("somebody's")
    with pytest.raises(GoawayError, match="is a file"):
        _open(f"unix:{path}")
    assert path.read_text() == "somebody's"


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(GoawayError, match=r"cannot listen on unix:.*Try: ls -ld"):
        _open(f"unix:{tmp_path}/none/policy")
