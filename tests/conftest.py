"""For every test: parts that a machine can lack, the loud list of skips, and a clean environment."""

import os
from collections import Counter
from typing import Final

import pytest
from _pytest.terminal import TerminalReporter
from hypothesis import settings

from streams.config import SETTINGS
from tests.parts import missing

REQUIRE: Final = "GOAWAY_REQUIRE_PARTS"

# a developer's own Kafka or policy must not leak into the tests
for _setting in SETTINGS:
    os.environ.pop(_setting.name, None)
    os.environ.pop(f"{_setting.name}_FILE", None)

# a busy machine is slow, not wrong
settings.register_profile("goaway", deadline=None)
settings.load_profile("goaway")


def parts_are_required() -> bool:
    """Whether a skip fails the run (CI), rather than being listed."""
    return os.environ.get(REQUIRE, "") not in ("", "0")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose parts are missing, or fail it where they are required."""
    names = tuple(str(name) for mark in item.iter_markers("needs") for name in mark.args)
    lacking = missing(names)
    if not lacking:
        return
    reason = "; ".join(f"no {part.name} here: {part.get}" for part in lacking)
    if parts_are_required():
        pytest.fail(f"{REQUIRE}: {reason}", pytrace=False)
    pytest.skip(reason)


def _skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    longrepr = report.longrepr
    reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return reason.removeprefix("Skipped: ")


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Name what was not tested here, how many tests that are, and how to have them run."""
    reasons = Counter(_skip_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if not reasons:
        return
    failing = parts_are_required()
    terminalreporter.write_sep("=", "NOT TESTED ON THIS MACHINE", red=failing, yellow=not failing, bold=True)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5d} skipped: {reason}")
    if failing:
        terminalreporter.write_line(f"{REQUIRE} is set: a skip fails the run", red=True, bold=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run that skipped anything has failed where every part is required."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if parts_are_required() and exitstatus == 0 and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
