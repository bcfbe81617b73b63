"""Postfix's SMTP access policy delegation protocol, the server's side, as a fed parser.

A request is `name=value` lines, ended by an empty line; the answer is one `action=…` line and an empty line.
Order is free, names that are not ours are ignored, and of a name that is sent twice the last value counts.
Source: Postfix, SMTPD_POLICY_README, "Protocol description".
"""

import re
from typing import Final

import msgspec

MAX_LINE_BYTES: Final = 8 * 1024
MAX_REQUEST_BYTES: Final = 64 * 1024
MAX_ATTRIBUTES: Final = 512

KIND: Final = b"smtpd_access_policy"
"""The value of `request` that every request of this protocol carries."""

DUNNO: Final = b"action=DUNNO\n\n"
"""The answer that leaves the matter to Postfix's next restriction."""

_ATTRIBUTES: Final = re.compile(rb"(?:[^=\n\0]++=[^\n\0]*+\n)*+[^=\n\0]++=[^\n\0]*+").fullmatch
"""Whether every line is an attribute, at a third of the time that splitting them takes."""


class PolicyRequest(msgspec.Struct, frozen=True, gc=False):
    """What Postfix asks about, as it wrote it; empty where it did not say."""

    client_address: bytes = b""
    protocol_state: bytes = b""
    """`CONNECT`, `EHLO`, `HELO`, `MAIL`, `RCPT`, `DATA`, `END-OF-MESSAGE`, `VRFY`, `ETRN`."""
    lines: bytes = b""
    """All of it, between line ends: what else it says is looked up when it is asked for."""

    def attribute(self, name: bytes) -> bytes:
        """The value of any attribute (`sender`, `helo_name`, …) as Postfix wrote it; empty where it is not
        there."""
        return _last(self.lines, b"\n" + name + b"=")

    def text(self, name: bytes) -> str:
        """The same as text; what is no UTF-8 becomes `�`."""
        return self.attribute(name).decode("utf-8", "replace")


class ProtocolFault(msgspec.Struct, frozen=True):
    """Input that is not this protocol. Nothing after it can be trusted: the connection is to be dropped."""

    reason: str


class PolicyReader:
    """Turns the bytes of one connection into requests, however they are cut into chunks.

    After a fault it reads nothing more. It holds at most `MAX_REQUEST_BYTES` and the chunk it is given.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._checked = 0
        """Bytes of `_pending` that are whole lines and were found good."""
        self._attributes = 0
        """How many lines those are."""
        self._broken = False

    def feed(self, chunk: bytes) -> list[PolicyRequest | ProtocolFault]:
        """The requests that this chunk completes, in order; a fault is the last thing ever returned."""
        if self._broken:
            return []
        if self._pending:
            self._pending += chunk
            # the line end that closes a request may follow a line end of the chunk before
            if self._pending.find(b"\n\n", max(0, self._checked - 1)) < 0:
                return self._hold()
            chunk = bytes(self._pending)
        *whole, rest = chunk.split(b"\n\n")
        found: list[PolicyRequest | ProtocolFault] = []
        for block in whole:
            request = _read(block)
            found.append(request)
            if isinstance(request, ProtocolFault):
                self._broken = True
                self._pending.clear()
                return found
        self._pending[:] = rest
        self._checked = self._attributes = 0
        if rest:
            found += self._hold()
        return found

    def _hold(self) -> list[PolicyRequest | ProtocolFault]:
        """Check what has come of an unfinished request, so that garbage is not waited upon."""
        reason = self._fault()
        if not reason:
            return []
        self._broken = True
        self._pending.clear()
        return [ProtocolFault(reason)]

    def _fault(self) -> str:
        while (end := self._pending.find(b"\n", self._checked)) >= 0:
            reason = _line_fault(self._pending[self._checked : end], self._checked, self._attributes)
            if reason:
                return reason
            self._checked, self._attributes = end + 1, self._attributes + 1
        begun = len(self._pending)
        return _too_long(self._checked, begun) if begun > self._checked else ""


def _read(block: bytes) -> PolicyRequest | ProtocolFault:
    """One request without the empty line that ends it."""
    usual = len(block) <= MAX_LINE_BYTES and block.count(b"\n") < MAX_ATTRIBUTES
    if not (usual and _ATTRIBUTES(block)):
        reason = _first_fault(block.split(b"\n"))
        if reason:
            return ProtocolFault(reason)
    lines = b"\n" + block + b"\n"
    if _last(lines, b"\nrequest=") != KIND:
        return ProtocolFault("not a request=smtpd_access_policy")
    return PolicyRequest(_last(lines, b"\nclient_address="), _last(lines, b"\nprotocol_state="), lines)


def _last(lines: bytes, name: bytes) -> bytes:
    """The value of the last line that starts with `name`; empty where there is none."""
    at = lines.rfind(name)
    if at < 0:
        return b""
    start = at + len(name)
    return lines[start : lines.index(b"\n", start)]


def _first_fault(lines: list[bytes]) -> str:
    """Why the first bad line is bad; empty where all are good."""
    start = 0
    for count, line in enumerate(lines):
        reason = _line_fault(line, start, count)
        if reason:
            return reason
        start += len(line) + 1
    return ""


def _line_fault(line: bytes | bytearray, start: int, earlier: int) -> str:
    """Why a whole line that starts at byte `start` of its request, after `earlier` lines, is no attribute."""
    reason = _too_long(start, start + len(line))
    if reason:
        return reason
    if not line:
        return "a request without attributes"
    if b"\0" in line:
        return "a NUL byte"
    if line.find(b"=") < 1:
        return "a line that is not name=value"
    if earlier >= MAX_ATTRIBUTES:
        return f"more than {MAX_ATTRIBUTES} attributes"
    return ""


def _too_long(start: int, end: int) -> str:
    """Whether a line from `start` to `end` exceeds a bound; which of the two it reached first."""
    if end - start <= MAX_LINE_BYTES and end <= MAX_REQUEST_BYTES:
        return ""
    if start + MAX_LINE_BYTES < MAX_REQUEST_BYTES:
        return f"a line of more than {MAX_LINE_BYTES} bytes"
    return f"a request of more than {MAX_REQUEST_BYTES} bytes"
