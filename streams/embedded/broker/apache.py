"""Apache Kafka as one node in KRaft mode: durable, from the jars of Maven Central.

An acknowledged record outlives the process, killed or not; as Kafka does by default, it is left to the system
when it reaches the disk, so the last records before a power failure may be lost.
"""

import base64
import fcntl
import os
import re
import subprocess
import uuid
from pathlib import Path
from typing import Final

from streams.config import KafkaSettings
from streams.embedded.broker import credentials
from streams.embedded.broker.apache_settings import SecureListener, log_properties, server_properties
from streams.embedded.broker.jars import find_java, kafka_jars
from streams.embedded.broker.process import LOOPBACK, ServerProcess, free_port, log_tail, refuse_taken_port
from streams.errors import UnavailableError

_HEAP: Final = ("-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData")
_FORMAT_TIMEOUT_S: Final = 60


class ApacheBroker:
    """One Kafka node on `folder`: `records/` (durable), `secure/` (0600), `kafka.log`, `server.properties`.

    With `secure`, a second listener speaks SASL_SSL with SCRAM-SHA-256 and a self-signed certificate: how to
    reach it is in `secure_settings`.
    """

    name: Final = "apache"
    durable: Final = True

    def __init__(self, folder: Path, *, port: int = 0, secure: bool = False) -> None:
        self._folder = folder.absolute()
        self._port = port or free_port()
        self._secure_port = free_port() if secure else 0
        self._process = ServerProcess(
            self.name, log=self._folder / "kafka.out", own_log=self._folder / "kafka.log"
        )

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT` of the plaintext listener."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def secure_settings(self) -> KafkaSettings:
        """How a client reaches the listener with TLS and SASL; only of a broker made with `secure`."""
        made = credentials.make_credentials(self._folder / "secure")
        return KafkaSettings(
            bootstrap=f"{LOOPBACK}:{self._secure_port}",
            security="SASL_SSL",
            mechanism=credentials.MECHANISM,
            user=credentials.USER,
            password=made.password,
            ca=str(made.ca),
        )

    @property
    def pid(self) -> int | None:
        """Process id of the Java machine, once started."""
        return self._process.pid

    def start(self, *, timeout_s: float = 60.0) -> None:
        """Fetch jars and format the folder where needed, run it, wait for it; see `Broker.start`."""
        if self.alive():
            return
        java = [find_java(), *_HEAP]
        jars = kafka_jars()
        for port in filter(None, (self._port, self._secure_port)):
            refuse_taken_port(port)
        self._refuse_folder_in_use()
        settings = self._write_settings()
        java += [f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}", "-cp", f"{jars}/*"]
        cluster = self._cluster_id() or self._format(java, settings)
        self._process.start(
            [*java, "kafka.Kafka", str(settings)], folder=self._folder, environment=_environment()
        )
        self._process.wait_for_kafka(self._port, cluster=cluster, timeout_s=timeout_s)
        if self._secure_port:
            made = credentials.make_credentials(self._folder / "secure")
            credentials.register(KafkaSettings(bootstrap=self.address), made)

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.alive()

    def rss_bytes(self) -> int:
        """Resident memory; 0 when it does not run."""
        return self._process.rss_bytes()

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """End it in order; its records stay."""
        self._process.stop(timeout_s=timeout_s)

    def _refuse_folder_in_use(self) -> None:
        """`UnavailableError` while another Kafka runs on the folder: it keeps a file there locked."""
        try:
            with (self._folder / "records" / ".lock").open("r+b") as lock:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return
        except OSError as error:
            raise UnavailableError(
                f"another Kafka is already running on {self._folder}, or the folder cannot be written to",
                try_next=f"fuser -v {self._folder / 'records' / '.lock'}, or another --data folder",
            ) from error

    def _write_settings(self) -> Path:
        """`server.properties` and the log's settings, written anew at each start: ports may differ."""
        self._folder.mkdir(parents=True, exist_ok=True)
        secure = None
        if self._secure_port:
            made = credentials.make_credentials(self._folder / "secure")
            secure = SecureListener(self._secure_port, made.keystore, made.keystore_password)
        text = server_properties(
            records=self._folder / "records", port=self._port, controller_port=free_port(), secure=secure
        )
        settings = self._folder / "server.properties"
        credentials.write_private(settings, text)
        (self._folder / "log4j2.properties").write_text(
            log_properties(self._folder / "kafka.log"), encoding="ascii"
        )
        return settings

    def _cluster_id(self) -> str:
        """The id that the folder was formatted with; empty when it was not."""
        try:
            meta = (self._folder / "records" / "meta.properties").read_text(encoding="utf-8")
        except OSError:
            return ""
        found = re.search(r"^cluster\.id=(\S+)$", meta, re.MULTILINE)
        return found[1] if found else ""

    def _format(self, java: list[str], settings: Path) -> str:
        """Make the folder Kafka's, and return the new cluster id."""
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # the tool would take an id that starts with a dash for a flag
        command = [*java, "kafka.tools.StorageTool", "format", "-c", str(settings), f"--cluster-id={cluster}"]
        output = self._folder / "format.out"
        with output.open("wb") as file:
            try:
                ended = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    cwd=self._folder,
                    env=_environment(),
                    timeout=_FORMAT_TIMEOUT_S,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                ended = -1
        if ended != 0:
            raise UnavailableError(
                f"{self._folder} could not be made Kafka's ({log_tail(output)})", try_next=f"less {output}"
            )
        return cluster


def _environment() -> dict[str, str]:
    """What Java may see: no setting or secret of ours, no KAFKA_OPTS or JAVA_TOOL_OPTIONS of the caller."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "TZ") if name in os.environ}
