"""The two ways in which the native protocol writes what has no fixed size."""


def varint(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value: str) -> bytes:
    """A string: its size in bytes, then UTF-8."""
    raw = value.encode("utf-8", "replace")
    return varint(len(raw)) + raw
