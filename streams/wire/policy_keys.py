"""Keys of the policy's entries, and what the entry of a key says.

`limits`, `clients`, `reputation`, `greylist`, `protocol`, `notify`, `shadow` and `replies` stand once;
`networks/CIDR`, `exempt/MODULE/CIDR`, `blocks/CIDR`, `zones/DOMAIN`, `partners/ADDRESS`, `suspend/MODULE` and
`schedules/NAME` as often as there are. A single address is written without its length.
"""

from functools import lru_cache
from typing import Any, Final

import msgspec

from streams.errors import InvalidValueError
from streams.model.client import Network, parse_address
from streams.model.policy import Module
from streams.wire import policy_values as v
from streams.wire.policy_rows import module as module_of
from streams.wire.policy_tables import BY_KEY
from streams.wire.policy_values import Row, RowError

MAX_ENTRIES: Final = 200_000
_encoder: Final = msgspec.json.Encoder()


def network_key(network: Network) -> str:
    """Key of a `[[networks]]` entry."""
    return f"networks/{v.network_text(network)}"


def exempt_key(module: Module, network: Network) -> str:
    """Key of an `[[exemptions]]` entry."""
    return f"exempt/{module}/{v.network_text(network)}"


def block_key(network: Network) -> str:
    """Key of a `[[blocks]]` entry."""
    return f"blocks/{v.network_text(network)}"


def canonical_key(key: str) -> str:
    """The key as entries have it: addresses and names in their one spelling; `RowError` where it is none."""
    head, slash, name = key.partition("/")
    table = BY_KEY.get(head)
    if table is None or bool(table.named_by) != bool(slash):
        raise RowError(f"{v.shown(key)} is no key of an entry; they begin with {', '.join(BY_KEY)}")
    match head:
        case "networks":
            name = v.network_text(v.network("cidr", name))
        case "blocks":
            name = v.network_text(v.network("address", name))
        case "exempt":
            module, _, address = name.partition("/")
            name = f"{module_of(module)}/{v.network_text(v.network('address', address))}"
        case "zones":
            name = v.domain("domain", name)
        case "partners":
            try:
                name = parse_address(name)
            except InvalidValueError as error:
                raise RowError(f"address = {error.what}") from error
        case "suspend":
            name = module_of(name)
        case "schedules":
            name = v.schedule_name("name", name)
    return f"{head}/{name}" if slash else head


@lru_cache(maxsize=2 * MAX_ENTRIES)
def _value(key: str, row: bytes) -> Any:
    """The value of an entry; remembered by its content, so that only what changed is read again."""
    spelt = canonical_key(key)
    if spelt != key:
        raise RowError(f"must be written {spelt}")
    head, _, name = key.partition("/")
    return BY_KEY[head].read(name, msgspec.json.decode(row))


def value_of(key: str, row: Row) -> Any:
    """What the entry says, as a value of the model (`NetworkPart` of a network), or `RowError`."""
    try:
        encoded = _encoder.encode(row)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RowError(f"cannot be written as JSON ({error})") from error
    if not isinstance(row, dict):
        raise RowError("must be a table")
    return _value(key, encoded)
