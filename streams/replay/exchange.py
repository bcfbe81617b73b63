"""Where processes that share a history lay down content for each other, and how they tell of it.

A block has a place, a file in memory, for as long as it is under way: who reads the history writes the block
there, who deals it out writes each one's part behind it. What is told is only where something lies: a few
bytes, of which a pipe takes many more than are ever told and not yet heard. So nobody waits for a reader.
"""

import os
import select
import tempfile
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final, NamedTuple

from streams.errors import UnavailableError

_HEARD_AT_ONCE: Final = 64
_AHEAD: Final = 4
"""Blocks under way for each process."""


class Told(NamedTuple):
    """Where something lies."""

    block: int
    """Its number from 0; -1 where there is none after `first` blocks."""
    first: int
    size: int
    """Of its bytes in the block's place; these are those."""


_TOLD: Final = Struct("<qqq")
_MOST_TOLD: Final = select.PIPE_BUF // _TOLD.size
"""So much is told before anybody has to hear it, however small pipes are."""


class Exchange:
    """For `processes` numbered from 0 and the one that reads; sent to them, it is the same there, as long as
    `descriptors` were passed on."""

    def __init__(self, processes: int) -> None:
        self.processes: Final = processes
        self.ahead: Final = min(_AHEAD * processes, _MOST_TOLD - 1)
        """How many blocks may be under way: when every process is done with one, its place is used again."""
        self._places = [_file_in_memory() for _ in range(self.ahead)]
        self._inboxes = [os.pipe() for _ in range(processes)]

    @property
    def descriptors(self) -> list[int]:
        """What a process has to have been given."""
        return [*self._places, *(end for inbox in self._inboxes for end in inbox)]

    def close(self) -> None:
        """Close what this process has of it."""
        for descriptor in self.descriptors:
            os.close(descriptor)

    def lay(self, block: int, first: int, content: bytes) -> Told:
        """Write into the block's place, from byte `first` on. `UnavailableError` where there is no room."""
        place, rest, at = self._places[block % self.ahead], memoryview(content), first
        try:
            while rest:
                written = os.pwrite(place, rest, at)
                rest, at = rest[written:], at + written
        except OSError as error:
            raise UnavailableError(
                f"no room to share a block ({error.strerror})", try_next="--jobs 1"
            ) from error
        return Told(block, first, len(content))

    def tell(self, process: int, told: Told) -> None:
        """Let this process know; whole, whoever else tells it something."""
        os.write(self._inboxes[process][1], _TOLD.pack(*told))

    def content(self, told: Told) -> bytes:
        """What lies there."""
        place, found, at = self._places[told.block % self.ahead], list[bytes](), told.first
        while at < told.first + told.size and (some := os.pread(place, told.first + told.size - at, at)):
            found.append(some)
            at += len(some)
        return found[0] if len(found) == 1 else b"".join(found)

    def heard(self, process: int, *, wait: bool, reader: int) -> Iterator[Told]:
        """What this process was told since; nothing yet only without `wait`.

        `reader` is its pipe to who reads the history, by which nothing comes but that end: `EOFError`.
        """
        inbox, ready = self._inboxes[process][0], select.poll()
        for it in (inbox, reader):
            ready.register(it, select.POLLIN)
        for descriptor, _ in ready.poll(None if wait else 0):
            if descriptor == reader:
                raise EOFError
            yield from map(Told._make, _TOLD.iter_unpack(os.read(inbox, _HEARD_AT_ONCE * _TOLD.size)))


def _file_in_memory() -> int:
    make: Callable[[str], int] | None = getattr(os, "memfd_create", None)
    if make is not None:
        return make("goaway-replay")
    with tempfile.TemporaryFile() as file:  # where there are none: one without a name
        return os.dup(file.fileno())
