"""The policy of `goaway up`: the file is brought onto `smtp.policy`, and what is changed there is kept.

Two files in the data folder remember it across restarts, also where the broker holds its records in memory:
`policy.toml`, the policy in force as it was last, and `policy.applied.toml`, the administrator's file as it
was last read. What changed in the file since then is applied to what is in force; the rest is left alone, so
that an exemption which was made by a command does not vanish because the file lacks it.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from streams.config import KafkaSettings
from streams.errors import GoawayError
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.policy_follower import PolicyFollower
from streams.policy_writer import change_policy
from streams.wire.policy_entries import Entries, entries_of, policy_of, toml_of

KEPT: Final = "policy.toml"
APPLIED: Final = "policy.applied.toml"

_log = logging.getLogger(__name__)


class PolicyKeeper:
    """Applies the file at the start and after a broker's loss; follows and keeps what is in force."""

    def __init__(self, file: Path | None, data: Path, *, by: str, say: Callable[[str, str], None]) -> None:
        self._file = file
        self._by = by
        self._kept, self._applied = data / KEPT, data / APPLIED
        self._say = say
        text = file.read_text(encoding="utf-8") if file else ""
        self._entries = entries_of(text, file=str(file or "the defaults"))
        self._lock = threading.Lock()
        self._follower: PolicyFollower | None = None
        self.policy: Policy = policy_of(self._entries)
        """The policy in force, as far as it is known here."""

    def start(self, settings: KafkaSettings) -> None:
        """Bring the file onto the topic, then keep what is in force; `GoawayError` where Kafka is away."""
        self.apply(settings)
        self._follower = PolicyFollower(settings, self.policy, self._keep)
        self._follower.start()

    def apply(self, settings: KafkaSettings) -> None:
        """Bring what changed in the file, or all of it where the topic is empty, onto the topic."""
        own, kept, applied = self._entries, self._read(self._kept), self._read(self._applied)

        def edit(in_force: Entries) -> Entries:
            start = in_force or (kept if kept is not None and applied is not None else own)
            before = applied if applied is not None else start if not in_force else own
            return merged(start, before, own)

        def what(in_force: Entries) -> str:
            if in_force or kept is None or applied is None:
                return f"goaway up with {self._file or 'the defaults'}"
            changed = merged(kept, applied, own) != kept
            return f"kept {KEPT}{f', with what changed in {self._file}' if changed and self._file else ''}"

        change = change_policy(settings, {}, edit, who=self._by, what=what)
        if change is not None:
            self._say("policy", f"change {change.number}, version {change.version}")
        _write(self._applied, own)

    def stop(self) -> None:
        """Follow no more."""
        if self._follower is not None:
            self._follower.stop()

    @property
    def wants_reputation(self) -> bool:
        """Whether the policy has anything for the reputation stage to do."""
        policy = self.policy
        asked = any(zone.enabled for zone in policy.zones)
        return asked or policy.protocol.invalid_sender or bool(policy.partners)

    def _keep(self, number: int, index: PolicyIndex) -> None:
        self.policy = index.policy
        if self._follower is not None:
            with self._lock:
                _write(self._kept, self._follower.entries)

    def _read(self, file: Path) -> Entries | None:
        try:
            return entries_of(file.read_text(encoding="utf-8"), file=str(file))
        except OSError:
            return None
        except GoawayError as error:
            aside = file.with_name(f"{file.name}.unreadable")
            with suppress(OSError):
                file.replace(aside)
            self._say("policy", f"{error}; it is passed over, and put aside as {aside.name}")
            return None


def merged(in_force: Entries, before: Entries, after: Entries) -> Entries:
    """What is in force, with what changed from `before` to `after`."""
    found: dict[str, dict[str, Any]] = dict(in_force)
    for key in before.keys() | after.keys():
        if before.get(key) == after.get(key):
            continue
        if key in after:
            found[key] = after[key]
        else:
            found.pop(key, None)
    return found


def _write(file: Path, entries: Entries) -> None:
    """Replace the file whole; one that cannot be written is said in the log and costs nothing else."""
    beside = file.with_name(f".{file.name}.new")
    try:
        beside.write_text(toml_of(entries), encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        _log.warning("%s cannot be written: %s", file, error.strerror)
