"""One log line, and the events made of it."""

from hashlib import blake2b
from typing import Any, Final

from streams.model.client import ClientPrefixes
from streams.model.event import MAX_TEXT, Event, EventKind
from streams.model.instant import Instant
from streams.wire.postfix.memory import HandOver, Memory, Queued, Session
from streams.wire.postfix.who import Who
from streams.wire.syslog import Header

_MAX_REPEATS: Final = 100_000


class Line:
    """The line being read; one object that `begin` moves from line to line, since making one costs time.

    Its first event has the line's own id; those it also tells of have `.1`, `.2`…
    """

    __slots__ = (
        "_also",
        "_client_of",
        "_id",
        "_position",
        "_precise",
        "_raw",
        "at",
        "host",
        "instance",
        "memory",
        "pid",
        "service",
        "source",
        "text",
    )

    at: Instant
    host: str
    pid: str
    text: str
    """The message, without its head."""
    instance: str
    """`postfix`, `postfix-out`: the tag's first part."""
    service: str
    """`smtpd`, `submission/smtpd`: the rest of the tag."""

    def __init__(self, memory: Memory, prefixes: ClientPrefixes, source: str) -> None:
        self.memory = memory
        self.source = source
        self._client_of = prefixes.client_of

    def begin(self, header: Header, raw: bytes, instance: str, service: str, position: int) -> None:
        """Be this line from now on; `raw` is without its line end."""
        self.at = header.at
        self.host = header.host
        self.pid = header.pid
        self.text = header.text
        self.instance = instance
        self.service = service
        self._precise = header.precise
        self._raw = raw
        self._position = position
        self._id = ""
        self._also = 0

    @property
    def id(self) -> str:
        """16 hex digits of host and line, the same wherever it is read; `~2`, `~3`… where a stamp without
        fraction repeats the same line within its second."""
        if not self._id:
            digest = blake2b(self.host.encode() + self._raw, digest_size=8).hexdigest()
            self._id = digest if self._precise else self._told_apart(digest)
        return self._id

    def _told_apart(self, digest: str) -> str:
        memory = self.memory
        if memory.second != self.at:
            memory.second = int(self.at)
            memory.repeats.clear()
        count = memory.repeats.get(digest, 0) + 1
        if count > 1 or len(memory.repeats) < _MAX_REPEATS:
            memory.repeats[digest] = count
        return digest if count == 1 else f"{digest}~{count}"

    @property
    def process(self) -> str:
        """`host/pid`."""
        return f"{self.host}/{self.pid}"

    def main(self, kind: EventKind, of: Who | Session | Queued, session: str, **fields: Any) -> Event:
        """The event that the line is about."""
        address = of.address
        return Event(
            id=self.id,
            at=self.at,
            kind=kind,
            client=self._client_of(address),
            address=address,
            session=session,
            host=self.host,
            service=self.service,
            ptr=of.ptr,
            source=self.source,
            position=self._position,
            **fields,
        )

    def also(self, kind: EventKind, session: Session, **fields: Any) -> Event:
        """One more event that the line tells of, in a session known from before."""
        self._also += 1
        id = f"{self.id}.{self._also}"
        return self._of_session(id, kind, session, self.host, fields)

    def owed(self, waiting: HandOver, detail: str) -> Event:
        """The disconnect of a connection that nothing more will be logged of."""
        return self._of_session(f"{waiting.id}.1", "disconnect", waiting, waiting.host, {"detail": detail})

    def _of_session(
        self, id: str, kind: EventKind, session: Session | HandOver, host: str, fields: dict[str, Any]
    ) -> Event:
        return Event(
            id=id,
            at=self.at,
            kind=kind,
            client=self._client_of(session.address),
            address=session.address,
            session=session.session,
            host=host,
            service=session.service,
            ptr=session.ptr,
            source=self.source,
            position=self._position,
            **fields,
        )


def bounded(text: str) -> str:
    """Free text as events keep it; that it is printable was seen to when the head was read."""
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT]
