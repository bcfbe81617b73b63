"""`replay --verify` on a store alone: what was decided about events that are not stored."""

import json
from collections.abc import Iterator
from typing import Final

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from streams.audit.clickhouse import connection_arguments
from streams.cli.replay import replay
from streams.errors import InvalidValueError, UnavailableError
from streams.model.decision import Decision
from streams.model.instant import MICROSECONDS, Instant, rfc3339
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.recorded_log import RecordedLog
from streams.replay.run import replay as decided
from tests.stack.recorded_store import Recorder
from tests.stack.sink_process import Store
from tests.unit.tune_history import SCANNER, START, made

pytestmark = pytest.mark.needs("chdb")

PERIOD: Final = [
    part
    for flag, at in (("--from", 0), ("--to", 9 * 3600))
    for part in (flag, rfc3339(Instant((START + at) * MICROSECONDS)))
]

MANY: Final = 100_000
"""More decisions than fit into the buffers between server and client."""


def verify(store: Store, *arguments: str) -> Result:
    settings = store.settings
    return CliRunner().invoke(
        replay,
        ["--verify", *PERIOD, *arguments],
        env={
            "GOAWAY_CLICKHOUSE": f"{settings.host}:{settings.port}",
            "GOAWAY_CLICKHOUSE_USER": settings.user,
            "GOAWAY_CLICKHOUSE_PASSWORD": settings.password,
            "GOAWAY_CLICKHOUSE_DATABASE": settings.database,
            "GOAWAY_POLICY": None,
            "GOAWAY_DATA": "none",
        },
    )


def test_a_decision_whose_event_is_not_stored_is_a_difference(store: Store) -> None:
    recorder, events = Recorder(store.settings), made()
    recorder.events(events)
    outcomes = list(decided(PolicyIndex(Policy()), events))
    recorder.outcomes(outcomes)
    found = verify(store)
    assert found.exit_code == 0, found.output
    blocks = [it for it in outcomes if isinstance(it, Decision)]
    assert blocks and {it.client for it in blocks} == {SCANNER}

    forged = replace(blocks[0], id="f" * 16, event="e" * 16, at=Instant(blocks[0].at - MICROSECONDS))
    recorder.outcomes([forged, forged])  # what a crash repeats is one
    outside = replace(forged, id="d" * 16, at=Instant((START + 10 * 3600) * MICROSECONDS))
    recorder.outcomes([outside])
    found = verify(store)
    assert found.exit_code == 1
    assert f"{len(blocks)} decisions the same, 1 different" in found.stdout
    assert f"event     {forged.event}, partition 0 (life 1), its event is not stored" in found.stdout
    assert f"policy    version {forged.policy}" in found.stdout
    assert "replayed  nothing" in found.stdout
    (first,) = json.loads(verify(store, "--json").stdout)["first"]
    assert (first["event"], first["event_stored"], first["offset"]) == (forged.event, False, None)

    store.rows(f"ALTER TABLE events DELETE WHERE client = '{SCANNER}' SETTINGS mutations_sync = 1")
    found = verify(store, "--json")
    assert found.exit_code == 1, found.output
    document = json.loads(found.stdout)
    assert (document["same"], document["different"]) == (0, len(blocks) + 1)
    assert not any(it["event_stored"] for it in document["first"])

    store.rows("ALTER TABLE events DELETE WHERE 1 SETTINGS mutations_sync = 1")
    found = verify(store)
    assert found.exit_code == 1, found.output
    assert (
        f"0 events decided again, 0 before them recalled: 0 decisions the same, {len(blocks) + 1} diff"
        in (found.stdout)
    )
    store.rows("ALTER TABLE decisions DELETE WHERE 1 SETTINGS mutations_sync = 1")
    nothing = verify(store).exception
    assert isinstance(nothing, InvalidValueError)
    assert "has no events" in nothing.what


def test_decisions_without_event_are_not_held(own_store: Store) -> None:
    """Where events are kept for less time, they are millions."""
    outcomes = decided(PolicyIndex(Policy()), made())
    block = next(it for it in outcomes if isinstance(it, Decision))
    Recorder(own_store.settings).outcomes([block])
    own_store.rows(
        f"INSERT INTO decisions WITH hex(arrayJoin(range({MANY}))) AS other "
        "SELECT * REPLACE (other AS id, other AS event) FROM decisions"
    )
    log = RecordedLog(connection_arguments(own_store.settings))

    def found() -> Iterator[Decision]:
        return (it for _, _, it in log.without_event(block.at, Instant(block.at + 1)))

    assert next(found()).client == block.client
    assert sum(it == block for it in found()) == 1  # an answer that nobody read to its end is not in the way
    some = found()
    assert next(some).client == block.client
    own_store.kill_and_start()
    with pytest.raises(UnavailableError, match=r"ClickHouse at .*goaway doctor"):
        sum(1 for _ in some)  # the rest had not been read
    assert sum(1 for _ in found()) == MANY + 1
    log.close()
