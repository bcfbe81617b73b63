"""A password and a self-signed certificate for a listener with TLS and SASL, kept in files of mode 0600."""

import os
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from streams.config import KafkaSettings
from streams.embedded.broker.jars import find_java
from streams.embedded.broker.process import log_tail
from streams.errors import UnavailableError
from streams.kafka import admin

USER: Final = "goaway"
MECHANISM: Final = "SCRAM-SHA-256"
_ITERATIONS: Final = 8192
_DAYS: Final = 3650


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the secure listener is opened with. No secret appears in a repr."""

    keystore: Path
    ca: Path
    keystore_password: str = field(repr=False)
    password: str = field(repr=False)


def make_credentials(folder: Path) -> Credentials:
    """The credentials in that folder, made when they are not there yet (needs `keytool`, a part of Java)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    keystore, ca = folder / "keystore.p12", folder / "ca.pem"
    keystore_password = _kept_secret(folder / "keystore-password")
    if not ca.exists():
        _make_certificate(keystore, ca, folder / "keystore-password")
    return Credentials(keystore, ca, keystore_password, _kept_secret(folder / "password"))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from the first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def register(settings: KafkaSettings, credentials: Credentials) -> None:
    """Have the broker at `settings` accept `USER` with that password; repeating it does no harm.

    Over Kafka's own protocol rather than at formatting, where the password would stand on a command line.
    """
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, _ITERATIONS)
    wanted = UserScramCredentialUpsertion(USER, info, credentials.password.encode())
    # the client must outlive its futures: they fail when it is collected
    client = admin(settings)
    try:
        for answer in client.alter_user_scram_credentials([wanted]).values():
            answer.result(timeout=10)
    except (KafkaException, TimeoutError) as error:
        raise UnavailableError(
            f"Kafka at {settings.bootstrap} took no password for {USER} ({type(error).__name__})",
            try_next="goaway doctor",
        ) from error


def _kept_secret(path: Path) -> str:
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text(encoding="utf-8")


def _make_certificate(keystore: Path, ca: Path, password_file: Path) -> None:
    keystore.unlink(missing_ok=True)
    keytool = find_java("keytool")
    store = ["-keystore", str(keystore), "-storetype", "PKCS12", "-storepass:file", str(password_file)]
    names = ["-ext", "SAN=IP:127.0.0.1,DNS:localhost", "-ext", "BC=ca:true"]
    pair = ["-genkeypair", "-alias", "kafka", "-dname", "CN=localhost"]
    pair += ["-keyalg", "EC", "-groupname", "secp256r1"]
    _run([keytool, *pair, "-validity", str(_DAYS), *names, *store], log=ca.with_suffix(".log"))
    certificate = ca.with_suffix(".new")
    export = ["-exportcert", "-rfc", "-alias", "kafka", "-file", str(certificate)]
    _run([keytool, *export, *store], log=ca.with_suffix(".log"))
    keystore.chmod(0o600)
    certificate.rename(ca)


def _run(command: list[str], *, log: Path) -> None:
    with log.open("wb") as output:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
    if ended.returncode:
        raise UnavailableError(f"keytool made no certificate ({log_tail(log)})", try_next=f"less {log}")
