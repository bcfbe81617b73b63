"""One history in a file, in ClickHouse and in Kafka: what replay, compare and tune say of it is the same, by
the policy of a file, of now and of then."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from streams.cli.capacity import capacity
from streams.cli.replay import replay
from streams.cli.tune import tune
from streams.config import KafkaSettings
from streams.embedded.broker import open_broker
from streams.errors import GoawayError, InvalidValueError, PolicyError, UnavailableError
from streams.kafka import create_topics
from streams.model.instant import MICROSECONDS, Instant, rfc3339
from streams.policy_writer import change_policy
from streams.sending import send_events
from streams.wire.policy_entries import DEFAULT_ENTRIES, Entries
from tests.stack.brokers import start_or_skip
from tests.stack.recorded_store import Recorder
from tests.stack.sink_process import Store
from tests.unit.tune_history import SCANNER, SENDER, START, made, write

pytestmark = pytest.mark.needs("chdb", "tansu")

BEGINS, ENDS = (rfc3339(Instant((START + at) * MICROSECONDS)) for at in (0, 9 * 3600))
PERIOD: Final = ("--from", BEGINS, "--to", ENDS)
EMPTY: Final = ("--from", "2020-01-01", "--to", "2020-01-02")


def limited(connections: int) -> Entries:
    return {**DEFAULT_ENTRIES, "limits": {"connections_per_minute": connections}}


@dataclass(frozen=True)
class Place:
    file: str
    strict: str
    environ: dict[str, str | None]

    @property
    def sources(self) -> list[tuple[str, ...]]:
        return [(self.file,), PERIOD, (*PERIOD, "--kafka")]

    def run(self, command: Any, *arguments: str) -> Result:
        return CliRunner().invoke(command, list(arguments), env=self.environ)

    def fails(self, command: Any, *arguments: str) -> GoawayError:
        error = self.run(command, *arguments).exception
        assert isinstance(error, GoawayError), error
        return error


@pytest.fixture(scope="module", name="place")
def _place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Strict from the second hour on, when the sender comes, and lax from the third on, when the scanner
    does; now strict again."""
    folder = tmp_path_factory.mktemp("sources")
    store, broker = Store(folder / "store"), open_broker("tansu", folder=folder / "broker")
    try:
        start_or_skip(broker)
        settings = KafkaSettings(bootstrap=broker.address)
        create_topics(settings)
        send_events(settings, made())
        change_policy(settings, {}, lambda _: limited(5), who="test", what="test")
        recorder = Recorder(store.settings)
        recorder.events(made())
        for number, (at, connections) in enumerate(((3500, 5), (7000, 10_000)), 1):
            recorder.change(number, limited(connections), at=rfc3339(Instant((START + at) * MICROSECONDS)))
        (folder / "strict.toml").write_text("[limits]\nconnections_per_minute = 5\n")
        clickhouse = store.settings
        yield Place(
            str(write(folder / "events.jsonl")),
            str(folder / "strict.toml"),
            {
                "GOAWAY_KAFKA": broker.address,
                "GOAWAY_CLICKHOUSE": f"{clickhouse.host}:{clickhouse.port}",
                "GOAWAY_CLICKHOUSE_USER": clickhouse.user,
                "GOAWAY_CLICKHOUSE_PASSWORD": clickhouse.password,
                "GOAWAY_CLICKHOUSE_DATABASE": clickhouse.database,
                "GOAWAY_POLICY": None,
                "GOAWAY_DATA": str(folder / "none"),
            },
        )
    finally:
        broker.stop()
        store.stop()


def test_two_policies_compared_are_the_same_from_every_source(place: Place) -> None:
    found = [
        place.run(replay, "--compare", "defaults", place.strict, *source, "--json")
        for source in place.sources
    ]
    assert [it.exit_code for it in found] == [1, 1, 1], found[-1].output
    of_file = json.loads(found[0].stdout)
    assert [it["client"] for it in of_file["differences"]] == [SENDER, SCANNER]
    assert [json.loads(it.stdout) for it in found[1:]] == [of_file, of_file]


def test_events_of_other_clients_than_the_policys_are_refused_from_every_source(
    place: Place, tmp_path: Path
) -> None:
    """A log would be counted by the networks of /24; these have their clients already."""
    wide = tmp_path / "wide.toml"
    wide.write_text("[clients]\nipv4_prefix = 24\n")
    for source in place.sources:
        for command in (replay, tune):
            error = place.fails(command, *source, "--policy", str(wide))
            assert isinstance(error, PolicyError)
            assert error.what.startswith("[clients]: ")
            assert "/24' under the policy" in error.what
    for jobs_of in place.sources[:2]:
        error = place.fails(replay, *jobs_of, "--policy", str(wide), "--jobs", "2")
        assert isinstance(error, PolicyError)


def test_limits_are_tuned_the_same_from_every_source(place: Place) -> None:
    found = [place.run(tune, *source, "--json") for source in place.sources]
    assert [it.exit_code for it in found] == [0, 0, 0], found[-1].output
    of_file = json.loads(found[0].stdout)
    assert [json.loads(it.stdout) for it in found[1:]] == [of_file, of_file]
    said = place.run(tune, *place.sources[2]).stdout
    assert f"To have it: goaway tune --from {BEGINS} --to {ENDS} --kafka --apply" in said


def test_the_traffic_is_the_same_from_every_source(place: Place) -> None:
    """Each cuts the history into batches of its own size."""
    rates = [part for name in ("parse", "engine", "worker") for part in ("--rate", f"{name}=1000")]
    found = [place.run(capacity, *source, "--json", *rates) for source in place.sources]
    assert [it.exit_code for it in found] == [0, 0, 0], found[-1].output
    of_file, *others = ({name: json.loads(it.stdout)[name] for name in ("traffic", "needs")} for it in found)
    assert of_file["traffic"]["events"] == len(made())
    assert others == [of_file, of_file]


def test_now_is_what_holds_on_kafka(place: Place) -> None:
    for source in place.sources[:2]:
        assert place.run(replay, "--compare", "now", place.strict, *source).exit_code == 0
    assert (
        json.loads(place.run(tune, place.file, "--policy", "now", "--json").stdout)["now"][
            "connections_per_minute"
        ]
        == 5
    )


def test_as_was_is_the_policy_of_each_time(place: Place) -> None:
    """In a log each change holds from its time on: the sender meets the strict policy, not the scanner."""
    arguments = ("--compare", "as-was", "defaults", place.file)
    found = json.loads(place.run(replay, *arguments, "--json").stdout)
    assert [(it["client"], it["where"]) for it in found["differences"]] == [(SENDER, "A"), (SCANNER, "B")]
    decided = place.run(replay, place.file, "--policy", "as-was").stdout.splitlines()
    assert [json.loads(it)["client"] for it in decided] == [SENDER]
    later = ("--from", rfc3339(Instant((START + 3600) * MICROSECONDS)), "--to", ENDS)
    tuned = place.run(tune, *later, "--policy", "as-was", "--json")
    assert json.loads(tuned.stdout)["now"]["connections_per_minute"] == 5


def test_a_period_without_events_is_an_error_that_names_the_place(place: Place) -> None:
    compare = ("--compare", "defaults", place.strict)
    for command, arguments in ((replay, compare), (tune, ()), (capacity, ()), (replay, ("--verify",))):
        error = place.fails(command, *arguments, *EMPTY)
        assert isinstance(error, InvalidValueError)
        assert str(place.environ["GOAWAY_CLICKHOUSE"]) in error.what
        assert "from 2020-01-01T00:00:00Z to 2020-01-02T00:00:00Z" in error.what
    error = place.fails(replay, *compare, *EMPTY, "--kafka", "--timezone", "utc")
    assert f"smtp.events on Kafka at {place.environ['GOAWAY_KAFKA']} has no events" in error.what


@pytest.mark.parametrize(
    ("away", "command", "arguments"),
    [
        ("GOAWAY_CLICKHOUSE", replay, ("--compare", "defaults", "defaults", *PERIOD)),
        ("GOAWAY_CLICKHOUSE", replay, ("--compare", "defaults", "as-was", "FILE")),
        ("GOAWAY_CLICKHOUSE", replay, ("--verify", *PERIOD)),
        ("GOAWAY_CLICKHOUSE", tune, PERIOD),
        ("GOAWAY_CLICKHOUSE", tune, ("FILE", "--policy", "as-was")),
        ("GOAWAY_KAFKA", replay, ("--compare", "now", "defaults", "FILE")),
        ("GOAWAY_KAFKA", replay, ("--to-kafka", "FILE")),
        ("GOAWAY_KAFKA", tune, (*PERIOD, "--kafka")),
    ],
)
def test_what_is_away_is_named(place: Place, away: str, command: Any, arguments: tuple[str, ...]) -> None:
    nowhere = Place(place.file, place.strict, {**place.environ, away: "127.0.0.1:1"})
    error = nowhere.fails(command, *(place.file if it == "FILE" else it for it in arguments))
    assert isinstance(error, UnavailableError)
    assert "127.0.0.1:1" in error.what
    assert error.try_next == "goaway doctor"
