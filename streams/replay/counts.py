"""What became of the lines of a history."""

from dataclasses import dataclass, field

from streams.wire.postfix import Ignored, Unreadable


@dataclass(slots=True)
class ReadCounts:
    """What became of the lines."""

    read: int = 0
    events: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    """Lines ignored on purpose, by reason."""
    unreadable: dict[str, int] = field(default_factory=dict)
    """Lines that could not be read, by reason."""

    def took(self, result: object, lines: int = 1) -> None:
        """Count one line's result."""
        self.read += lines
        if isinstance(result, Ignored):
            self.ignored[result.reason] = self.ignored.get(result.reason, 0) + lines
        elif isinstance(result, Unreadable):
            self.unreadable[result.reason] = self.unreadable.get(result.reason, 0) + lines
        elif isinstance(result, list):
            self.events += len(result)

    def facts(self) -> dict[str, object]:
        """All of it, for JSON."""
        return {
            "read": self.read,
            "events": self.events,
            "ignored": sum(self.ignored.values()),
            "unreadable": sum(self.unreadable.values()),
            "ignored_by_reason": self.ignored,
            "unreadable_by_reason": self.unreadable,
        }

    def __str__(self) -> str:
        return (
            f"read {self.read}, events {self.events}, ignored on purpose {sum(self.ignored.values())}, "
            f"unreadable {sum(self.unreadable.values())}"
        )

    def doubt(self) -> str:
        """What to say where more than one line in a hundred could not be read; else empty."""
        lines = sum(self.unreadable.values())
        if 100 * lines <= self.read:
            return ""
        reason, of = max(self.unreadable.items(), key=lambda it: it[1])
        return (
            f"{lines:,} of {self.read:,} lines ({100 * lines / self.read:.3g} %) could not be read, so what "
            f"they say is missing here; {of:,} of them: {reason}"
        )

    def add(self, other: "ReadCounts") -> None:
        """Take in what somebody else counted."""
        self.read += other.read
        self.events += other.events
        for mine, others in ((self.ignored, other.ignored), (self.unreadable, other.unreadable)):
            for reason, lines in others.items():
                mine[reason] = mine.get(reason, 0) + lines
