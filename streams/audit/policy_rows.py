"""A record of `smtp.policy` as a row of `policy_log`: an entry, an entry taken out, or a commit.

Nothing is judged here: which changes were accepted is for `policy_history` to say, from the rows. So what
spoils a change has its row as well, and a dead letter beside it.
"""

from dataclasses import dataclass

import msgspec

from streams.errors import InvalidValueError
from streams.model.instant import Instant
from streams.wire.policy_log import COMMIT_KEY, decode_change, decode_number


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One row, without its place in Kafka. What only commits have is 0 or empty of an entry."""

    at: Instant
    """Of a commit when the change was made; of an entry when Kafka took it."""
    key: str
    change: int
    """Number of the change that the record belongs to."""
    entry: str = ""
    """JSON, as it was written; empty also where it cannot be read."""
    deleted: bool = False
    after: int = 0
    version: str = ""
    who: str = ""
    what: str = ""
    note: str = ""
    entries: int = 0


def policy_row(
    key: bytes | None, value: bytes | None, change: bytes | None, *, taken_at: Instant
) -> tuple[PolicyRow | None, str]:
    """The row of a record with this key, value and header, and what is wrong with the record, or nothing.

    None for what has no part in any change: a commit that cannot be read, an entry of no change.
    """
    name = (key or b"").decode("utf-8", "replace")
    if name == COMMIT_KEY:
        try:
            return _commit(value), ""
        except InvalidValueError as error:
            return None, error.what
    number = decode_number(change)
    if number == 0:
        return None, f"entry {name[:100]!r} does not say which change it belongs to"
    if not name or name.encode() != key:
        return PolicyRow(taken_at, name, number), f"{name[:100]!r} is no key of an entry"
    if value is None:
        return PolicyRow(taken_at, name, number, deleted=True), ""
    try:
        msgspec.json.decode(value, type=dict[str, object])
        return PolicyRow(taken_at, name, number, value.decode("utf-8")), ""
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return PolicyRow(taken_at, name, number), f"entry {name[:100]!r}: {error}"


def _commit(value: bytes | None) -> PolicyRow:
    made = decode_change(value)
    return PolicyRow(
        made.at,
        COMMIT_KEY,
        made.number,
        after=made.after,
        version=made.version,
        who=made.who,
        what=made.what,
        note=made.note,
        entries=made.entries,
    )
