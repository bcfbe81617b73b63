"""`goaway search` and `goaway stats`: flags that cannot be used, said before anything is asked."""

from collections.abc import Sequence

import pytest
from click.testing import CliRunner

from streams.cli.main import goaway
from streams.errors import GoawayError, UnavailableError, UsageError


def refused(monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]) -> GoawayError:
    """The error; nobody answers for ClickHouse, so one that is found too late is another."""
    monkeypatch.setenv("GOAWAY_CLICKHOUSE", "127.0.0.1:1")
    done = CliRunner().invoke(goaway, [*arguments, "--data", "/nonexistent"])
    assert isinstance(done.exception, GoawayError), done.output
    return done.exception


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "--json", "--csv"], "--json and --csv"),
        (["stats", "--json", "--csv"], "--json and --csv"),
        (["search", "--story", "kq3f0x2m9a-1f2c", "--csv"], "--story opens one hit"),
        (["search", "--story", "kq3f0x2m9a-1f2c", "--code", "551"], "--story opens one hit"),
        (["search", "--story", "kq3f0x2m9a-1f2c", "--follow"], "--story opens one hit"),
        (["search", "--story", ""], "the id is empty"),
        (["search", "--before", "kq3f0x2m9a-1f2c"], "is the id of a hit"),
        (["search", "foo"], "'foo' is not an address"),
        (["stats", "foo"], "'foo' is not an address"),
        (["stats", "192.0.2.1-192.0.2.9"], "is a range"),
        (["search", "--day", "9999-12-31", "--timezone", "utc"], "no day follows 9999-12-31"),
        (["stats", "--day", "9999-12-31", "--timezone", "utc"], "no day follows 9999-12-31"),
        (["dashboards", "preview", "-", "--day", "9999-12-31"], "no day follows 9999-12-31"),
        (
            ["dashboards", "preview", "-", "--client", "192.0.2.300"],
            "--client: '192.0.2.300' is not an address",
        ),
    ],
)
def test_what_cannot_be_used_is_said_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    error = refused(monkeypatch, arguments)
    assert isinstance(error, UsageError) and said in error.what and error.try_next


def test_a_page_that_cannot_be_written_is_not_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    error = refused(monkeypatch, ["dashboards", "preview", "/nonexistent/page.html"])
    assert error.exit_code == 4 and "there is no folder /nonexistent" in error.what


@pytest.mark.parametrize("command", ["search", "stats"])
def test_what_is_advised_instead_of_a_range_can_be_typed(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    error = refused(monkeypatch, [command, "10.0.0.0-10.0.0.9"])
    assert error.try_next == f"goaway {command} 10.0.0.0/29 10.0.0.8/31"
    assert isinstance(refused(monkeypatch, error.try_next.split()[1:]), UnavailableError)


@pytest.mark.parametrize("day", ["2023-02-30", "2026-13-01", "0000-01-01", "today"])
def test_what_is_advised_instead_of_a_day_is_a_day(monkeypatch: pytest.MonkeyPatch, day: str) -> None:
    error = refused(monkeypatch, ["stats", "--day", day, "--timezone", "utc"])
    assert error.what == f"--day: {day!r} is no day"
    assert isinstance(refused(monkeypatch, ["stats", *error.try_next.split()]), UnavailableError)
