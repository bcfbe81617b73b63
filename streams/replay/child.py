"""A process that does one piece of work for this one, over a pipe.

`multiprocessing` would start it by importing again what this process was started with, which for the `goaway`
command takes longer than replaying a hundred thousand events.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Final

from streams.errors import GoawayError, UnavailableError

_HASH_SEED: Final = str(int.from_bytes(os.urandom(4), "big"))
"""Nobody who writes a history can know it."""
_BEGIN: Final = "from streams.replay.child import begin; begin()"


class Child:
    """Runs `work(pipe, *given)`; `work` is a function of a module, found there by its name."""

    def __init__(self, work: Callable[..., None], *given: object, keep: Sequence[int] = ()) -> None:
        """`keep`: descriptors that it is to have, under the same numbers. Of one process, all have the same
        hash seed: what `hash` says of a text is the same to them."""
        self.pipe, theirs = Pipe()
        with theirs:
            # -P: nothing that lies in the working folder is taken for a module
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BEGIN, str(theirs.fileno())],
                pass_fds=[theirs.fileno(), *keep],
                env={**os.environ, "PYTHONHASHSEED": _HASH_SEED},
                stdin=subprocess.DEVNULL,
            )
        self.pipe.send((work, given))

    def answer(self) -> Any:
        """What it says next; a `GoawayError` is raised, and `UnavailableError` where it has ended."""
        try:
            given = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise UnavailableError(
                "a process of the replay ended before its time", try_next="--jobs 1"
            ) from error
        if isinstance(given, GoawayError):
            raise given
        return given

    def close(self) -> None:
        """Stop it, whatever it is at."""
        self._process.terminate()
        self._process.wait(5)
        self.pipe.close()


def begin() -> None:
    """The child's side; it ends where the other end does."""
    pipe = Connection(int(sys.argv[1]))
    try:
        work, given = pipe.recv()
        work(pipe, *given)
    except (EOFError, ConnectionError, KeyboardInterrupt):
        os._exit(1)
