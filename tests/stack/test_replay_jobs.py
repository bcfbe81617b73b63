"""A stored period replayed by several processes is decided as by one."""

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import astuple

from streams.audit.clickhouse import connection_arguments
from streams.cli.replay import replay
from streams.config import ClickHouseSettings
from streams.errors import UnavailableError
from streams.model.instant import Instant, rfc3339
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.clickhouse_source import StoredPeriod
from streams.replay.counts import ReadCounts
from streams.replay.order import event_order
from streams.replay.parallel_stored import replay_stored
from streams.replay.run import decide
from streams.wire.frames import encode
from tests.stack.recorded_store import Recorder
from tests.stack.sink_process import Store
from tests.unit.test_replay import history_of

pytestmark = pytest.mark.needs("chdb")


def period_of(settings: ClickHouseSettings) -> StoredPeriod:
    return StoredPeriod(connection_arguments(settings), Instant(0), Instant(1 << 52))


def test_processes_that_share_a_stored_period_decide_as_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many of the events have the same time, so that their place in Kafka decides what comes first."""
    made = history_of(11)
    Recorder(store.settings).events(made)
    monkeypatch.setattr("streams.replay.clickhouse_source._SLICE_ROWS", 1000)
    stored = [event for batch in period_of(store.settings).batches() for event in batch.items]
    assert sorted(astuple(it) for it in stored) == sorted(astuple(it) for it in made)
    assert [it.at for it in stored] == sorted(it.at for it in made)
    expected = [
        encode(it)
        for _, found in decide(PolicyIndex(Policy()), period_of(store.settings).batches())
        for _, few in found
        for it in few
    ]
    assert len(expected) > 80
    for jobs in (2, 3):
        counts, period = ReadCounts(), period_of(store.settings)
        found = [encode(it) for few in replay_stored(Policy(), period, counts, jobs=jobs) for it in few]
        assert found == expected
        assert counts.read == counts.events == period.extent.done == period.extent.total == len(made)

    environ = {
        "GOAWAY_CLICKHOUSE": f"{store.settings.host}:{store.settings.port}",
        "GOAWAY_CLICKHOUSE_USER": store.settings.user,
        "GOAWAY_CLICKHOUSE_PASSWORD": store.settings.password,
        "GOAWAY_CLICKHOUSE_DATABASE": store.settings.database,
    }
    ends = sorted(made, key=event_order)

    def printed(*flags: str) -> Result:
        ran = CliRunner().invoke(
            replay,
            [
                "--from",
                rfc3339(ends[0].at),
                "--to",
                rfc3339(ends[-1].at + 1),
                "--policy",
                "defaults",
                "--warnings",
                *flags,
            ],
            env=environ,
        )
        assert ran.exit_code == 0, ran.output
        return ran

    assert printed("--jobs", "2").output == printed().output
    assert printed().stdout_bytes.count(b"\n") >= len(expected)


def test_a_clickhouse_that_is_not_there_is_said_once(store: Store) -> None:
    period = StoredPeriod({**connection_arguments(store.settings), "port": 1}, Instant(0), Instant(1))
    with pytest.raises(UnavailableError, match="ClickHouse at"):
        list(replay_stored(Policy(), period, ReadCounts(), jobs=2))
