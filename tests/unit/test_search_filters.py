"""`goaway search`: filters that nothing can meet are refused before anything is asked."""

import ast
import inspect
from types import ModuleType
from typing import get_args

import pytest
from click.testing import CliRunner

from streams.audit.filters import RULES_OF
from streams.cli.main import goaway
from streams.engine import greylist, reputation
from streams.errors import UsageError
from streams.model.decision import Decision, Trigger
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.run import replay
from tests.stack.recorded_store import SAMPLE, events_of


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--what", "decisions", "--sender", "a"], "no decision has --sender"),
        (["--what", "decisions", "--recipient", "a"], "no decision has --recipient"),
        (["--what", "events", "--rule", "requests_per_minute"], "no event has --rule"),
        (["--rule", "requests_per_minute", "--sender", "a"], "nothing has both"),
        (["--rule", "no_retry", "--trigger", "rate"], "no_retry is a rule of greylist, not of rate"),
        (["--trigger", "other", "--what", "decisions"], "no decision has --trigger other"),
        (["--trigger", "other", "--rule", "no_retry"], "no decision has --trigger other"),
        (["--recipient", "<>"], "no recipient is empty"),
    ],
)
def test_filters_that_exclude_one_another(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.setenv("GOAWAY_CLICKHOUSE", "127.0.0.1:1")  # nobody answers there
    error = CliRunner().invoke(goaway, ["search", *arguments, "--data", "/nonexistent"]).exception
    assert isinstance(error, UsageError) and said in error.what and error.try_next


@pytest.mark.parametrize("arguments", [["--trigger", ""], ["--trigger", "odd"], ["--code", "250"]])
def test_what_no_hit_can_have_is_no_choice(arguments: list[str]) -> None:
    done = CliRunner().invoke(goaway, ["search", *arguments])
    assert done.exit_code == 2 and f"Invalid value for '{arguments[0]}'" in done.output


def rules_named(module: ModuleType) -> set[str]:
    """Every text that the module gives to a parameter `rule` of a function that it calls."""
    found = set()
    for call in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            asked = getattr(module, call.func.id, None)
            if inspect.isfunction(asked) and "rule" in (takes := inspect.signature(asked)).parameters:
                named = {it.arg: it.value for it in call.keywords if it.arg}
                given = takes.bind(*call.args, **named).arguments["rule"]
                if isinstance(given, ast.Constant) and given.value:
                    found.add(str(given.value))
    return found


def test_rules_are_those_that_decide() -> None:
    assert set(RULES_OF["greylist"]) == rules_named(greylist)
    assert set(RULES_OF["reputation"]) == rules_named(reputation)
    assert set(RULES_OF) == set(get_args(Trigger))
    made = {
        (it.trigger, it.rule)
        for it in replay(PolicyIndex(Policy()), events_of(SAMPLE))
        if isinstance(it, Decision)
    }
    assert made and all(rule in RULES_OF[trigger] for trigger, rule in made)
