"""What a frame means to the stage, and its commands as a person meets them."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.agents.reputation.app import Stage
from streams.agents.stage import stamp_us
from streams.cli.reputation import reputation
from streams.config import KafkaSettings
from streams.errors import GoawayError, InvalidValueError, UnavailableError, UsageError
from streams.model.client import Address, Client
from streams.model.event import Event, EventKind
from streams.model.instant import MICROSECONDS, Instant
from streams.model.modules import Reputation, Zone
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.wire.frames import encode_frame
from tests.rbldnsd import ENTRIES, Rbldnsd, zone_file

NOW = Instant(1_700_000_000 * MICROSECONDS)
HOUR = 3600 * MICROSECONDS
POLICY = """
[reputation]
resolvers = ["{resolver}"]
timeout_ms = 500
threshold = 3
[[zones]]
domain = "bl.example"
name = "BL"
codes = {{ "127.0.0.2" = 2 }}
delisting = "https://bl.example/remove"
"""


def event(address: str, at: int = NOW, kind: EventKind = "connect", client: str = "") -> Event:
    return Event(
        id=f"{address}/{at}", at=Instant(at), kind=kind, client=Client(client or address),
        address=Address(address), session="mx/1", host="mx",
    )  # fmt: skip


def test_frames_are_taken_without_waiting_and_what_is_old_or_not_true_is_left() -> None:
    async def work() -> None:
        bounds = Reputation(resolvers=("127.0.0.1:1",))
        index = PolicyIndex(Policy(zones=(Zone(domain="bl.example"),), reputation=bounds))
        settings = KafkaSettings(bootstrap="127.0.0.1:1")
        stage = Stage(settings, lambda: (1, index), partitions=4, state=None, now=lambda: NOW)
        await stage.start()
        assert stage.positions() is None
        stage.assigned = {0, 1}
        frame = encode_frame(
            [
                event("192.0.2.1"),
                event("192.0.2.2", NOW - HOUR - 1),
                event("192.0.2.3", NOW + HOUR + 1),
                event("192.0.2.4", client="192.0.2.5"),
                event("192.0.2.6", kind="disconnect"),
                event("192.0.2.7", NOW - HOUR),
            ]
        )
        stage.take(0, 41, frame + b"rubbish\n", stamp_us(None))
        assert (stage.lookups.under_way + stage.lookups.waiting, stage.old) == (2, 2)
        assert stage.positions() == {0: 42, 1: None}
        # what is newest counts over all partitions, and a clock that is ahead does not move it
        stage.take(1, 7, encode_frame([event("192.0.2.8")]), NOW + 10 * HOUR)
        assert (stage.lookups.under_way + stage.lookups.waiting, stage.old) == (3, 2)
        stage.take(1, 8, encode_frame([event("192.0.2.1", kind="forget")]), NOW)
        stage.zones.close()

    asyncio.run(work())


@pytest.fixture
def policy(tmp_path: Path) -> Iterator[str]:
    """A policy file with one zone, served by rbldnsd."""
    file = tmp_path / "policy.toml"
    with Rbldnsd({"bl.example": ("ip4trie", zone_file(ENTRIES + "192.0.2.0/24\n"))}) as running:
        file.write_text(POLICY.format(resolver=running.address))
        yield str(file)


def goaway(*arguments: str) -> tuple[str, GoawayError | None]:
    done = CliRunner().invoke(reputation, arguments)
    assert done.exception is None or isinstance(done.exception, GoawayError), done.exception
    return done.stdout, done.exception


@pytest.mark.needs("rbldnsd")
def test_look_prints_what_zones_say(policy: str) -> None:
    shown, error = goaway("look", "192.0.2.7", "--policy", policy)
    assert error is None
    row = next(line for line in shown.splitlines() if line.startswith("bl.example"))
    assert row.split() == ["bl.example", "127.0.0.2", "listed", "2", "2100", "s", "https://bl.example/remove"]
    assert "weight 2 of 3: let through" in shown
    shown, error = goaway("look", "198.51.100.7", "--json", "--policy", policy)
    assert error is None
    assert json.loads(shown)["zones"][0] | {"delisting": ""} == {
        "zone": "bl.example", "name": "BL", "codes": [], "weight": 0, "ttl_s": 600, "trouble": "",
        "delisting": "",
    }  # fmt: skip
    _, error = goaway("look", "nobody", "--policy", policy)
    assert isinstance(error, InvalidValueError)


@pytest.mark.needs("rbldnsd")
def test_zones_says_which_work(policy: str) -> None:
    shown, error = goaway("zones", "--policy", policy)
    assert error is None
    assert "works" in shown
    file = Path(policy)
    file.write_text(file.read_text().replace("bl.example", "gone.example"))
    shown, error = goaway("zones", "--policy", policy, "--json")
    assert isinstance(error, UnavailableError)
    assert [(row["zone"], row["state"]) for row in json.loads(shown)] == [("gone.example", "out")]
    _, error = goaway("look", "192.0.2.7", "--policy", policy)
    assert isinstance(error, UnavailableError)


def test_policy_without_zones_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("")
    _, error = goaway("zones", "--policy", str(file))
    assert isinstance(error, UsageError)
    assert "[[zones]]" in str(error)


def test_policy_in_force_is_read_where_no_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOAWAY_KAFKA", "127.0.0.1:1")
    monkeypatch.setattr("streams.cli.reputation._POLICY_S", 0.5)
    _, error = goaway("zones")
    assert isinstance(error, UnavailableError)
    assert "--policy" in str(error)
