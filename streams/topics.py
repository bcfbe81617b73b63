"""The topics: names, keys, how long they keep. One home for every name."""

from dataclasses import dataclass, field
from typing import Final

EVENTS: Final = "smtp.events"
DECISIONS: Final = "smtp.decisions"
WARNINGS: Final = "smtp.warnings"
POLICY: Final = "smtp.policy"
DEADLETTERS: Final = "smtp.deadletters"
CANDIDATE: Final = "smtp.candidate"
SHADOW: Final = "smtp.shadow"

SOURCE_HEADER: Final = "goaway-source"
"""Kafka header of a frame: the source all its events were read from."""
OFFSET_HEADER: Final = "goaway-event-offset"
"""Header of a decision's record: the offset of the frame that brought it about."""
CANDIDATE_HEADER: Final = "goaway-candidate"
"""Header on `smtp.shadow`: the number of the candidate's change on `smtp.candidate`; where it begins and
where it ends, then a blank and the time of the first event from there on."""
BEGIN_KEY: Final = "begin"
END_KEY: Final = "end"
"""Keys of the records, without a value, between which a candidate judged a partition: from the frame of
`OFFSET_HEADER` on, and up to it, itself left out."""

DEFAULT_PARTITIONS: Final = 4

_DAY_MS: Final = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as Goaway creates it. `partitions` 0 stands for as many as `smtp.events` has."""

    name: str
    key: str
    value: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


TOPICS: Final[tuple[TopicSpec, ...]] = (
    TopicSpec(EVENTS, "client", "frame of events", 0, {"retention.ms": str(7 * _DAY_MS)}),
    TopicSpec(
        DECISIONS,
        "trigger:client",
        "one decision",
        0,
        {
            "cleanup.policy": "compact,delete",
            "retention.ms": str(30 * _DAY_MS),
            # the worker's fold takes blocks from here, so none may be compacted away inside its horizon
            "min.compaction.lag.ms": str(_DAY_MS),
        },
    ),
    TopicSpec(WARNINGS, "client", "one warning", 0, {"retention.ms": str(30 * _DAY_MS)}),
    TopicSpec(
        POLICY,
        "entry, or change",
        "one entry, a tombstone, or the commit of a change",
        1,
        {
            "cleanup.policy": "compact",
            # a reader that is behind, or reads it again after an hour, sees every change as it was made
            "min.compaction.lag.ms": str(_DAY_MS),
        },
    ),
    TopicSpec(
        DEADLETTERS, "source", "what could not be read, where and why", 1, {"retention.ms": str(30 * _DAY_MS)}
    ),
    TopicSpec(
        CANDIDATE,
        "entry, or change",
        "one entry, a tombstone, or the commit of a change",
        1,
        {"cleanup.policy": "compact", "min.compaction.lag.ms": str(_DAY_MS)},
    ),
    # nothing but the report and a starting worker reads it: no decision on it can refuse anybody
    TopicSpec(SHADOW, "trigger:client", "one decision", 0, {"retention.ms": str(30 * _DAY_MS)}),
)
