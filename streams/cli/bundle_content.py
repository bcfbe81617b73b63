"""What goes into a support bundle: what the commands say, what the stages logged, where Kafka stands."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams import __version__
from streams.cli.bundle_figures import figures
from streams.cli.doctor_postfix import LOGS
from streams.cli.reach import reach
from streams.config import SETTINGS, KafkaSettings
from streams.errors import GoawayError
from streams.kafka import client_config, partition_counts, unavailable
from streams.ship.position import Place
from streams.topics import TOPICS

ASK_S: Final = 40.0
"""Longest wait for one command."""
KAFKA_S: Final = 5.0
MAX_ANSWER: Final = 2_000_000
"""Bytes of one command's answer that are kept."""
MAX_STAGE_LOGS: Final = 40

_GROUPS: Final = ("goaway-decide", "goaway-reputation", "goaway-notify")


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of the bundle, as it was found: nothing is taken out yet."""

    name: str
    what: str
    content: str | list[Any] | dict[str, Any]
    """Text, or what becomes JSON."""
    note: str = ""
    """Why it is not whole, or not there."""


def pieces(data: Path, policy: Path | None, *, log_bytes: int, with_log: bool) -> Iterator[Piece]:
    """Everything, the smallest and most telling first. Nothing raises: what cannot be had has a note."""
    where = ("--data", str(data))
    own = ("--policy", str(policy)) if policy else ()
    asks: tuple[tuple[str, str, Sequence[str]], ...] = (
        ("status.json", "what goaway status says", ("status", "--json", *where)),
        ("doctor.json", "what goaway doctor says", ("doctor", "--json", *where, *own)),
        ("policy/in-force.toml", "the policy in force", ("policy", "show", "--live", *where)),
        ("policy/history.json", "who changed it", ("policy", "log", "--json", "--limit", "1000", *where)),
        ("storage/migrations.json", "tables of ClickHouse", ("db", "status", "--json", *where)),
    )
    yield _versions()
    yield _settings()
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(_ask, name, what, arguments) for name, what, arguments in asks]
        for answer in answers:
            yield answer.result()
    for file in filter(None, (policy, data / "policy.toml")):
        if file.is_file():
            yield _tail(f"policy/{file.name}", "the policy file that the stages start with", file, 1_000_000)
            break
    for file in sorted((data / "status").glob("*.json"))[:MAX_STAGE_LOGS]:
        yield _tail(f"status/{file.name}", "what the stage last said of itself", file, 100_000)
    yield _kafka(data)
    for name, what, rows, trouble in figures(reach(data).clickhouse):
        yield Piece(name, what, rows, trouble)
    logs = [*sorted((data / "log").glob("*.log")), *sorted(data.glob("*/tansu.log"))]
    logs += sorted(data.glob("apache/*.log"))
    for file in logs[:MAX_STAGE_LOGS]:
        yield _tail(f"log/{file.name}", "what the stage logged last", file, log_bytes)
    if with_log:
        yield from _mail_logs(data, log_bytes)


def _versions() -> Piece:
    release = Path("/etc/os-release")
    return Piece(
        "versions.json",
        "Goaway, Python, packages, the system, Postfix",
        {
            "goaway": __version__,
            "python": sys.version,
            "system": platform.platform(),
            "distribution": next(
                (
                    line.partition("=")[2].strip('"')
                    for line in (release.read_text().splitlines() if release.is_file() else ())
                    if line.startswith("PRETTY_NAME=")
                ),
                "",
            ),
            "processors": os.cpu_count(),
            "postfix": _postfix_version(),
            "packages": {one.metadata["Name"]: one.version for one in sorted(distributions(), key=_name)},
        },
    )


def _name(one: Any) -> str:
    return str(one.metadata["Name"]).lower()


def _postfix_version() -> str | None:
    program = shutil.which("postconf") or shutil.which("postconf", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        return None
    try:
        asked = subprocess.run(
            [program, "-d", "-h", "mail_version"], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip()


def _settings() -> Piece:
    rows = []
    for setting in SETTINGS:
        from_file = setting.secret and os.environ.get(f"{setting.name}_FILE")
        value = os.environ.get(setting.name)
        if setting.secret:
            shown = "from a file, not shown" if from_file else "set, not shown" if value else "not set"
        else:
            shown = setting.default if value is None else value
        rows.append({"name": setting.name, "value": shown, "default": value is None and not from_file})
    return Piece("settings.json", "the settings, without the secret ones", rows)


def _ask(name: str, what: str, arguments: Sequence[str]) -> Piece:
    """What a command of ours prints, in a process of its own that cannot hold up the rest."""
    try:
        asked = subprocess.run(
            [sys.executable, "-m", "streams.cli", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
            timeout=ASK_S,
        )
    except subprocess.TimeoutExpired:
        return Piece(name, what, "", f"goaway {arguments[0]} gave no answer within {ASK_S:.0f} s")
    note = "" if asked.stdout else (asked.stderr.strip() or f"exit code {asked.returncode}")[-2000:]
    answer = asked.stdout
    if len(answer) > MAX_ANSWER:
        return Piece(name, what, answer[:MAX_ANSWER], f"cut: {len(answer):,} characters")
    return Piece(name, what, _as_json(name, answer), note)


def _kafka(data: Path) -> Piece:
    name, what = "kafka.json", "topics, how far they reach, and how far each group has read"
    try:
        return Piece(name, what, _offsets(reach(data).kafka))
    except GoawayError as error:
        return Piece(name, what, {}, error.what)


def _offsets(kafka: KafkaSettings) -> dict[str, Any]:
    counts = partition_counts(kafka, timeout_s=KAFKA_S)
    found: dict[str, Any] = {}
    for group in _GROUPS:
        consumer = Consumer(client_config(kafka, **{"group.id": group}))
        try:
            for spec in TOPICS:
                places = [TopicPartition(spec.name, number) for number in range(counts.get(spec.name, 0))]
                rows = found.setdefault(spec.name, [{"partition": it.partition} for it in places])
                for place, row in zip(places, rows, strict=True):
                    if "end" not in row:
                        row["oldest"], row["end"] = consumer.get_watermark_offsets(place, timeout=KAFKA_S)
                if places:
                    for place, row in zip(consumer.committed(places, timeout=KAFKA_S), rows, strict=True):
                        if place.offset >= 0:
                            row[group] = place.offset
        except KafkaException as error:
            raise unavailable(kafka, error.args[0].str()) from error
        finally:
            consumer.close()
    return found


def _mail_logs(data: Path, size: int) -> Iterator[Piece]:
    """The ends of the logs that are followed; where none is known, of the one in its usual place."""
    import msgspec

    paths: list[Path] = []
    for file in sorted((data / "ship").glob("*.json")):
        try:
            paths.append(Path(msgspec.json.decode(file.read_bytes(), type=Place).path))
        except (OSError, msgspec.MsgspecError):
            continue
    paths = paths or [path for path in map(Path, LOGS) if path.exists()][:1]
    if not paths:
        yield Piece("mail/mail.log", "the mail log", "", "no log is followed, and none in its usual place")
    for number, path in enumerate(paths[:10], start=1):
        yield _tail(f"mail/{number}.log", f"the end of {path}", path, size)


def _tail(name: str, what: str, file: Path, size: int) -> Piece:
    """The last whole lines of a file, up to `size` bytes."""
    try:
        with file.open("rb") as opened:
            length = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, length - size))
            content = opened.read(size)
    except OSError as error:
        return Piece(name, what, "", f"{file}: {error.strerror}")
    if length > size:
        content = content.partition(b"\n")[2]
    note = f"the last {len(content):,} of {length:,} bytes" if length > size else ""
    text = content.decode("utf-8", "surrogateescape")
    return Piece(name, what, _as_json(name, text) if not note else text, note)


def _as_json(name: str, text: str) -> Any:
    """What a JSON file says, else the text as it is."""
    if name.endswith(".json"):
        with suppress(ValueError):
            return json.loads(text)
    return text
