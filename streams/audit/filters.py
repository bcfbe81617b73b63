"""Filters of a search that nothing can meet together, known before anything is asked."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.search import EMPTY, Query
from streams.engine.rules import RULES
from streams.engine.taking import FORGOTTEN
from streams.errors import UsageError
from streams.model.modules import VIOLATIONS

RULES_OF: Final[dict[str, tuple[str, ...]]] = {
    "rate": tuple(rule.name for rule in RULES),
    "reputation": ("delisted", "verdict"),
    "greylist": ("first_attempt", "no_retry", "retried", "renewed", "delivered", "learnt"),
    "protocol": tuple(VIOLATIONS.values()),
    "blocklist": ("blocks",),
}
"""Trigger → the rules of its decisions; those of `reputation` are the policy's zones as well."""
OTHER: Final = "other"
"""The trigger of a refusal that has our opening and none of our reasons; no decision has it."""


def check(query: Query) -> None:
    """`UsageError` where no event and no decision can be what the query asks for."""
    for words, try_next in _faults(query):
        raise UsageError(words, try_next=try_next)


def check_rule(clickhouse: ClickHouse, rule: str) -> None:
    """`UsageError` where no rule is called so: none of ours, no host name as zones have, none on record."""
    known = sorted({FORGOTTEN, *(it for rules in RULES_OF.values() for it in rules)})
    if not rule or "." in rule or rule in known:
        return
    if clickhouse.rows("SELECT 1 FROM decisions WHERE rule = %(rule)s LIMIT 1", {"rule": rule}):
        return
    close = get_close_matches(rule, known, n=1) or ["requests_per_minute"]
    raise UsageError(f"no rule is called {rule[:64]!r}", try_next=f"--rule {close[0]}")


def _faults(query: Query) -> Iterator[tuple[str, str]]:
    envelope = "--sender" if query.sender else "--recipient" if query.recipient else ""
    if query.recipient == EMPTY:
        yield "no recipient is empty", f"--sender '{EMPTY}'"
    if envelope and query.what == "decisions":
        yield f"no decision has {envelope}: it is an event's", f"{envelope} with --what events"
    if query.rule and query.what == "events":
        yield "no event has --rule: it is a decision's", "--rule with --what decisions"
    if query.rule and envelope:
        yield f"--rule is a decision's, {envelope} an event's: nothing has both", "one of them"
    if query.trigger == OTHER and (query.rule or query.what == "decisions"):
        yield f"no decision has --trigger {OTHER}: each has one of ours", f"--trigger {OTHER} --what events"
    of = [trigger for trigger, rules in RULES_OF.items() if query.rule in rules]
    if query.trigger and of and query.trigger not in of:
        yield f"{query.rule} is a rule of {of[0]}, not of {query.trigger}", f"--trigger {of[0]}"
