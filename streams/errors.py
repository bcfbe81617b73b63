"""Every error that a person may see: what is wrong, where, and the command to try next."""

from typing import ClassVar


class GoawayError(Exception):
    """Base of all expected failures; `cli` prints it as one line and exits with `exit_code`.

    `what` names the cause and the place; `try_next` is a command or a setting, without the word "Try".
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, try_next: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.try_next = try_next

    def __str__(self) -> str:
        if not self.try_next:
            return self.what
        return f"{self.what}{'' if self.what.endswith(('.', '?')) else '.'} Try: {self.try_next}"


class UsageError(GoawayError):
    """A flag or an argument that cannot be used (exit code 2, as click's own)."""

    exit_code = 2


class InvalidValueError(GoawayError, ValueError):
    """A text that is not the value it should be: an address, an instant, an event (exit code 3)."""

    exit_code = 3


class PolicyError(GoawayError):
    """A policy that cannot be applied; `what` starts with the file and the key (exit code 3)."""

    exit_code = 3


class SettingsError(GoawayError):
    """An environment variable or a settings file that cannot be used (exit code 3)."""

    exit_code = 3


class UnavailableError(GoawayError):
    """A service that is not reachable: Kafka, ClickHouse, a log file (exit code 4)."""

    exit_code = 4


class MissingPartError(GoawayError):
    """A program or package that this machine lacks (exit code 5)."""

    exit_code = 5
