"""The cases of tests/cases/policy: requests and their answers, as data (see the README there)."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from streams.model.client import Address, Client
from streams.model.decision import Action, Decision, Evidence, Trigger
from streams.model.instant import MICROSECONDS, Instant
from streams.model.standing import PolicyIndex
from streams.shim.answers import Answers
from streams.shim.table import DecisionTable
from streams.wire.policy_toml import read_policy

FOLDER: Final = Path(__file__).parent / "cases" / "policy"
NOW: Final = 100 * MICROSECONDS
BUFFER_SIZES: Final = (4096, 128, 16, 1)

_DECISION: Final = re.compile(r"(decide|release) (\w+) (\S+) (\d+)(?:\.\.(\d+))?(?: (4\d\d))?(?: (.*))?$")
_TIMES: Final = re.compile(r"\{(\d+)\*(.)\}")


@dataclass(frozen=True, slots=True)
class PolicyCase:
    """One case, ready to be replayed."""

    name: str
    policy: str
    decisions: tuple[Decision, ...]
    sent: bytes
    answered: bytes
    dropped: bool

    def answers(self) -> Answers:
        """Answers from the case's policy and decisions."""
        table = DecisionTable()
        for decision in self.decisions:
            # each is taken in while it stands, as a follower does that was there at the time
            table.apply(decision, decision.at)
        return Answers(PolicyIndex(read_policy(self.policy)), table)


def decision(
    trigger: Trigger,
    client: str,
    at: int,
    until: int | None,
    reason: str = "",
    *,
    code: int = 551,
    action: Action = "block",
) -> Decision:
    """A decision with times in microseconds; what no answer depends on is filled in."""
    return Decision(
        id=f"{trigger}:{client}:{at}",
        at=Instant(at),
        until=None if until is None else Instant(until),
        action=action,
        client=Client(client),
        address=Address(client.partition("/")[0]),
        trigger=trigger,
        rule=f"{trigger}_rule",
        code=code,
        reason=reason,
        evidence=Evidence(count=11, limit=10),
        policy="0",
        event="e",
        session="mx/1",
        host="mx",
    )


def _decision(line: str) -> Decision | None:
    found = _DECISION.match(line)
    if found is None:
        return None
    verb, trigger, client, at, until, code, reason = found.groups()
    return decision(
        cast("Trigger", trigger),
        client,
        int(at) * MICROSECONDS,
        int(until) * MICROSECONDS if until else None,
        reason or "",
        code=int(code or 551),
        action="block" if verb == "decide" else "release",
    )


def _expand(text: str) -> str:
    text = _TIMES.sub(lambda m: m[2] * int(m[1]), text)
    return text.replace("\\0", "\0").replace("\\r", "\r")


def read_case(path: Path) -> PolicyCase:
    """A case file; the parts before the last two are policy and decisions, told apart by their lines."""
    parts = re.split(r"^----\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    *setup, sent, answered = parts
    policy, decisions = [], []
    for line in "".join(setup).splitlines():
        taken = _decision(_expand(line))
        if taken is None:
            policy.append(line)
        else:
            decisions.append(taken)
    lines = _expand(answered).splitlines()
    dropped = bool(lines) and lines[-1] == "<drop>"
    return PolicyCase(
        name=path.stem,
        policy="\n".join(policy),
        decisions=tuple(decisions),
        sent=_expand(sent).encode(),
        answered="".join(f"{line}\n\n" for line in lines if line != "<drop>").encode(),
        dropped=dropped,
    )


CASES: Final = tuple(read_case(path) for path in sorted(FOLDER.glob("*.case")))
