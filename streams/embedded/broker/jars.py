"""Java, and Apache Kafka's jars: fetched once from Maven Central with `mvn`, then used offline."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from streams.embedded.broker.process import log_tail
from streams.errors import MissingPartError

POM: Final = Path(__file__).with_name("kafka-pom.xml")
MIN_JAVA: Final = 17
"""Kafka 4 runs its broker on Java 17 and later."""

_COMPLETE: Final = "complete.json"
_FETCH_TIMEOUT_S: Final = 600
_COMPLAINT_CHARACTERS: Final = 400
_OTHER: Final = "or --broker tansu, or --broker HOST:PORT"


def kafka_version() -> str:
    """The version of Apache Kafka that the pom names."""
    found = re.search(r"<kafka\.version>([0-9.]+)</kafka\.version>", POM.read_text(encoding="utf-8"))
    if found is None:
        raise MissingPartError(f"{POM} names no kafka.version", try_next="pip install -U goaway")
    return found[1]


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where this version's jars are kept: `$XDG_CACHE_HOME/goaway/kafka-VERSION`, by default in ~/.cache."""
    base = environ.get("XDG_CACHE_HOME", "")
    # the XDG base directory specification: a relative path is to be ignored
    root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return root / "goaway" / f"kafka-{kafka_version()}"


def find_java(program: str = "java", environ: Mapping[str, str] = os.environ) -> str:
    """Path of `java` (or `keytool`): from JAVA_HOME, then PATH; `MissingPartError` if absent or too old."""
    home = environ.get("JAVA_HOME", "")
    folders = [f"{home}/bin"] if home else []
    folders.append(environ.get("PATH", os.defpath))
    found = shutil.which(program, path=os.pathsep.join(folders))
    if found is None:
        raise MissingPartError(
            f"Apache Kafka needs Java {MIN_JAVA} or later, and there is no {program}",
            try_next=f"apt-get install default-jre-headless, {_OTHER}",
        )
    if program == "java" and (version := _java_version(found)) < MIN_JAVA:
        raise MissingPartError(
            f"Apache Kafka needs Java {MIN_JAVA} or later, and {found} is {version or 'of unknown version'}",
            try_next=f"JAVA_HOME=/path/to/a/newer/one, {_OTHER}",
        )
    return str(Path(found).absolute())


def _java_version(java: str) -> int:
    """Major version; 0 when it cannot be told. Java 8 and before call themselves 1.x."""
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    return int(found[1]) if found else 0


def kafka_jars(environ: Mapping[str, str] = os.environ) -> Path:
    """Folder of Kafka's jars, complete; fetched when it is not there yet.

    `MissingPartError` says whether `mvn` is missing or what it complained about. No network and no `mvn` is
    used when the jars are there.
    """
    folder = cache_folder(environ)
    if is_complete(folder):
        return folder
    mvn = shutil.which("mvn", path=environ.get("PATH", ""))
    if mvn is None:
        raise MissingPartError(
            f"Apache Kafka's jars are not in {folder}, and there is no mvn to fetch them",
            try_next=f"apt-get install maven, {_OTHER}",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.with_name(f"{folder.name}.lock")):
            if not is_complete(folder):
                _fetch(mvn, folder, environ)
    except OSError as error:
        raise MissingPartError(
            f"Apache Kafka's jars cannot be put into {folder} ({error.strerror})",
            try_next="XDG_CACHE_HOME=/a/folder/with/50/MB/free",
        ) from error
    return folder


def is_complete(folder: Path) -> bool:
    """Whether the folder holds every jar at its full size, fetched for the pom of this release."""
    try:
        marker = json.loads((folder / _COMPLETE).read_text(encoding="utf-8"))
        return bool(marker["pom"] == _pom_digest()) and all(
            (folder / name).stat().st_size == size for name, size in marker["jars"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _fetch(mvn: str, folder: Path, environ: Mapping[str, str]) -> None:
    """Fetch beside the folder, then move into place: what has the final name is whole."""
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.parent) as temporary:
        jars, log = Path(temporary, "jars"), Path(temporary, "mvn.log")
        jars.mkdir()
        # mvn writes beside the pom
        pom = shutil.copy(POM, Path(temporary, "pom.xml"))
        command = [mvn, "--batch-mode", "--quiet", "--strict-checksums", "-f", str(pom)]
        command += ["dependency:copy-dependencies", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
        try:
            with log.open("wb") as output:
                subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=dict(environ),
                    timeout=_FETCH_TIMEOUT_S,
                    check=True,
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise MissingPartError(
                f"mvn could not fetch Apache Kafka {kafka_version()} from Maven Central ({_complaint(log)})",
                try_next=f"the network or a mirror in ~/.m2/settings.xml, {_OTHER}",
            ) from error
        sizes = {jar.name: jar.stat().st_size for jar in sorted(jars.glob("*.jar"))}
        if f"kafka_2.13-{kafka_version()}.jar" not in sizes:
            raise MissingPartError("mvn fetched no Apache Kafka", try_next=f"mvn -f {POM} dependency:tree")
        (jars / _COMPLETE).write_text(json.dumps({"pom": _pom_digest(), "jars": sizes}), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        jars.rename(folder)


def _complaint(log: Path) -> str:
    """What mvn complains of, on one line: its first words, for the last are advice on its own flags."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return log_tail(log)
    plain = [re.sub(r"\x1b\[[0-9;]*m|\[(ERROR|FATAL)\] ?", "", line) for line in lines]
    said = " | ".join(line.strip() for line in plain if line.strip())[:_COMPLAINT_CHARACTERS]
    return "".join(c if c.isprintable() else "?" for c in said) or "it said nothing"


def _pom_digest() -> str:
    return hashlib.sha256(POM.read_bytes()).hexdigest()


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One fetch at a time on this machine; the lock goes with the process."""
    with lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
