"""The ClickHouse client: its arguments, its errors, and TLS against a real TLS listener."""

import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from streams.audit.clickhouse import ClickHouse, StorageError, connection_arguments, quoted
from streams.config import ClickHouseSettings
from streams.errors import UnavailableError

PLAIN = ClickHouseSettings(host="192.0.2.1", port=9440, user="u", password="s3cret", database="d")


def test_arguments_without_tls() -> None:
    found = connection_arguments(PLAIN)
    assert {key: found[key] for key in ("host", "port", "user", "password", "database")} == {
        "host": "192.0.2.1",
        "port": 9440,
        "user": "u",
        "password": "s3cret",
        "database": "d",
    }
    assert "secure" not in found
    assert connection_arguments(PLAIN, with_database=False)["database"] == ""


def test_tls_always_checks_certificate_and_name() -> None:
    found = connection_arguments(ClickHouseSettings(host="ch.example", tls=True))
    assert (found["secure"], found["verify"], found["check_hostname"]) == (True, True, True)
    assert found["server_hostname"] == "ch.example"
    assert "ca_certs" not in found
    assert connection_arguments(ClickHouseSettings(tls=True, ca="/ca.pem"))["ca_certs"] == "/ca.pem"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_nothing_is_compressed_on_loopback(host: str) -> None:
    assert connection_arguments(ClickHouseSettings(host=host))["compression"] is False


def test_quoted() -> None:
    assert quoted("a`b\\") == "`a\\`b\\\\`"


def _certificate(folder: Path) -> tuple[Path, Path]:
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


class TlsListener:
    """Accepts one TLS connection, keeps the first bytes it is sent, and hangs up."""

    def __init__(self, key: Path, certificate: Path) -> None:
        self.hello = b""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        raw, _ = self._listener.accept()
        raw.settimeout(10)
        try:
            with self._context.wrap_socket(raw, server_side=True) as secured:
                self.hello = secured.recv(4096)
        except OSError:
            raw.close()

    def finish(self) -> bytes:
        self._thread.join(10)
        self._listener.close()
        return self.hello


@pytest.mark.parametrize(
    ("host", "trusted", "spoken"),
    [("localhost", True, True), ("localhost", False, False), ("127.0.0.1", True, False)],
    ids=["trusted", "not in the CA file", "another name"],
)
def test_the_handshake_needs_the_right_ca_and_name(
    tmp_path: Path, host: str, trusted: bool, spoken: bool
) -> None:
    key, certificate = _certificate(tmp_path)
    listener = TlsListener(key, certificate)
    settings = ClickHouseSettings(
        host=host, port=listener.port, tls=True, ca=str(certificate) if trusted else "", password="s3cret"
    )
    with pytest.raises(UnavailableError) as caught:
        ClickHouse(settings).rows("SELECT 1")
    assert "s3cret" not in str(caught.value)
    assert (b"goaway" in listener.finish()) is spoken


def test_a_ca_file_that_is_missing_is_said() -> None:
    with pytest.raises(UnavailableError, match="No such file"):
        ClickHouse(ClickHouseSettings(tls=True, ca="/nowhere/ca.pem", port=1)).rows("SELECT 1")


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    with pytest.raises(UnavailableError, match=rf"127\.0\.0\.1:{port} does not answer.*goaway doctor"):
        ClickHouse(ClickHouseSettings(port=port)).rows("SELECT 1")
    assert StorageError("x").exit_code == 4
