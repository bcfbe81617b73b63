"""`replay --verify` on a store alone: what was decided about events that are not stored."""

import json
from typing import Final

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from streams.cli.replay import replay
from streams.model.decision import Decision
from streams.model.instant import MICROSECONDS, Instant, rfc3339
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
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
