"""Run a program that ends when its starter ends: `python -I -S leash.py STARTER_PID PROGRAM [ARGUMENT…]`.

The program takes over this process, so that its id is the one the starter knows. A forked child stays behind
and watches: it sends SIGTERM when the starter is gone, SIGKILL ten seconds later. PR_SET_PDEATHSIG would be
shorter, but it fires when the starting *thread* ends, and `up` may start a broker from a worker thread.
"""

import contextlib
import os
import select
import signal
import sys
import time
from typing import Final

GRACE_S: Final = 10.0
_POLL_S: Final = 0.5


def _wait_for_either_end(starter: int, program: int) -> None:
    """Return when the starter or the program, this process's parent, has ended."""
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            poll = select.poll()
            for pid in (starter, program):
                poll.register(os.pidfd_open(pid), select.POLLIN)
            poll.poll()
            return
    while os.getppid() == program and _exists(starter):
        time.sleep(_POLL_S)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _watch(starter: int, program: int) -> None:
    _wait_for_either_end(starter, program)
    deadline = time.monotonic() + GRACE_S
    # the program is this process's parent: while that holds, its id cannot have been given to another
    if os.getppid() == program:
        os.kill(program, signal.SIGTERM)
    while os.getppid() == program:
        if time.monotonic() > deadline:
            os.kill(program, signal.SIGKILL)
            return
        time.sleep(0.05)


def main(arguments: list[str]) -> None:
    """Replace this process by the program, or exit at once when the starter is gone already."""
    starter, command = int(arguments[0]), arguments[1:]
    if os.getppid() != starter:
        sys.exit(f"the process {starter} that asked for {command[0]} has ended")
    program = os.getpid()
    if os.fork() == 0:
        with contextlib.suppress(ProcessLookupError):
            _watch(starter, program)
        os._exit(0)
    os.execv(command[0], command)  # noqa: S606 - no shell is what we want


if __name__ == "__main__":
    main(sys.argv[1:])
