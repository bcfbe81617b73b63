"""A made history: a monitor, a sender, a newsletter's burst, a scanner, and a client that is nobody."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streams.model.client import ClientPrefixes, parse_address
from streams.model.event import Event, EventKind
from streams.model.instant import MICROSECONDS, Instant
from streams.wire.frames import encode_frame

START = 1_678_748_400
MONITOR, SENDER, SCANNER, STRANGER = "192.0.2.10", "192.0.2.20", "203.0.113.9", "198.51.100.1"


def event(at_s: float, kind: EventKind, address: str, session: str, **fields: Any) -> Event:
    """One event."""
    return Event(
        id=f"{address}{session}{kind}{at_s}",
        at=Instant(int((START + at_s) * MICROSECONDS)),
        kind=kind,
        client=ClientPrefixes().client_of(parse_address(address)),
        address=parse_address(address),
        session=f"mx/{address}/{session}",
        host="mx",
        **fields,
    )


def session(at_s: float, address: str, number: int, *, mails: int = 0, ended: str = "") -> Iterator[Event]:
    """A connection of half a second; each mail in it is delivered."""
    name = str(number)
    yield event(at_s, "connect", address, name)
    for place in range(mails):
        yield event(at_s + 0.1 + place / 100, "mail", address, name, sender="a@example.org")
        yield event(at_s + 0.2 + place / 100, "message", address, name, sender="a@example.org")
    yield event(at_s + 0.5, "disconnect", address, name, detail=ended, ptr="")


def made() -> list[Event]:
    """Eight hours."""
    events: list[Event] = []
    polite, rude = "ehlo=1 quit=1 commands=2", "ehlo=1 auth=0/1 commands=1/2"
    for minute in range(480):
        events += session(minute * 60 + 1, MONITOR, minute, ended=polite)
    for number in range(10):  # ten connections within a minute, 16 messages
        mails = 4 if number < 2 else 1
        events += session(3600 + number * 5, SENDER, number, mails=mails, ended=polite.replace("=2", "=9"))
    for number in range(600):  # 73 a minute
        events += session(7200 + number * 60 / 73, SCANNER, number, ended=rude)
    events += session(100, STRANGER, 1)
    return sorted(events, key=lambda it: (it.at, it.id))


def write(file: Path) -> Path:
    """The history as JSON lines."""
    file.write_bytes(encode_frame(made()))
    return file
