"""The sink's two threads share one interpreter."""

import gc
import sys
from collections.abc import Iterator

import pytest

from streams.audit.clickhouse import ClickHouse
from streams.audit.sink import GC_THRESHOLDS, SWITCH_S, Sink
from streams.audit.source import LogReader
from streams.config import ClickHouseSettings, KafkaSettings


@pytest.fixture
def as_before() -> Iterator[None]:
    switch_s, thresholds = sys.getswitchinterval(), gc.get_threshold()
    yield
    sys.setswitchinterval(switch_s)
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("as_before")
def test_the_thread_that_stores_does_not_wait_for_the_one_that_reads() -> None:
    sys.setswitchinterval(0.005)
    reader = LogReader(KafkaSettings("127.0.0.1:1"))
    try:
        Sink(ClickHouse(ClickHouseSettings()), reader).close()
        assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
        assert gc.get_threshold() == GC_THRESHOLDS
    finally:
        reader.close()
