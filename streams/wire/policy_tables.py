"""The tables of a policy, in the order in which a file has them: their names, keys and readers."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from streams.model.modules import Greylist, Notify, Protocol, Reputation, Zone
from streams.model.policy import Replies
from streams.wire import policy_rows, policy_settings
from streams.wire.policy_settings import LIMITS
from streams.wire.policy_values import Row


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """How a table of the file and its entries are named and read."""

    name: str
    """In the file: `exemptions`."""
    key: str
    """First part of its entries' keys: `exempt`."""
    read: Callable[[str, Row], Any]
    named_by: tuple[str, ...] = ()
    """Keys of the file's row that name the entry: `module`, `address`. None: one entry is the whole table."""
    keys: tuple[str, ...]
    """The other keys, in the order in which they are written."""


def _of(kind: Any, *without: str) -> tuple[str, ...]:
    return tuple(name for name in kind.__struct_fields__ if name not in without)


TABLES: Final = (
    Table(name="limits", key="limits", read=policy_settings.limits, keys=LIMITS),
    Table(name="clients", key="clients", read=policy_settings.clients, keys=("ipv4_prefix", "ipv6_prefix")),
    Table(name="reputation", key="reputation", read=policy_settings.reputation, keys=_of(Reputation)),
    Table(name="greylist", key="greylist", read=policy_settings.greylist, keys=_of(Greylist)),
    Table(name="protocol", key="protocol", read=policy_settings.protocol, keys=_of(Protocol)),
    Table(name="notify", key="notify", read=policy_settings.notify, keys=_of(Notify)),
    Table(name="shadow", key="shadow", read=policy_settings.shadow, keys=("rules",)),
    Table(name="replies", key="replies", read=policy_settings.replies, keys=_of(Replies)),
    Table(
        name="networks",
        key="networks",
        read=policy_rows.network,
        named_by=("cidr",),
        keys=("name", "internal", *LIMITS),
    ),
    Table(
        name="exemptions",
        key="exempt",
        read=policy_rows.exemption,
        named_by=("module", "address"),
        keys=("note", "expires", "by"),
    ),
    Table(
        name="blocks",
        key="blocks",
        read=policy_rows.block,
        named_by=("address",),
        keys=("note", "expires", "by"),
    ),
    Table(name="zones", key="zones", read=policy_rows.zone, named_by=("domain",), keys=_of(Zone, "domain")),
    Table(name="partners", key="partners", read=policy_rows.partner, named_by=("address",), keys=("name",)),
    Table(
        name="suspensions",
        key="suspend",
        read=policy_rows.suspension,
        named_by=("module",),
        keys=("until", "note", "by"),
    ),
    Table(
        name="schedules",
        key="schedules",
        read=policy_rows.schedule,
        named_by=("name",),
        keys=("timezone", "months", "days", "weekdays", "from", "to", "networks", *LIMITS),
    ),
)
BY_NAME: Final = {table.name: table for table in TABLES}
BY_KEY: Final = {table.key: table for table in TABLES}
