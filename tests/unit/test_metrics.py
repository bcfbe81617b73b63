"""Metrics: names by Prometheus' conventions, values from the facts, nothing that a stranger can reach."""

import re
import urllib.request
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import click
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.agents.ledger import Counts
from streams.cli.options import metrics_option
from streams.errors import UnavailableError, UsageError
from streams.metrics import METRICS, Said, everything, of_status, serve
from streams.status import Fact, StatusFile

UNITS = ("_seconds", "_bytes")
GAUGES_OF_COUNT = re.compile(r"goaway_[a-z_]+")


def scraped(*said: Said) -> dict[tuple[str, ...], float]:
    """(sample name, label values by label name…) → value, as Prometheus would read them."""
    url = serve(("127.0.0.1", 0), lambda: said)
    text = urllib.request.urlopen(url, timeout=5).read().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_names_follow_the_conventions() -> None:
    names = [metric.name for metric in everything()]
    assert len(names) == len(set(names))
    for metric in everything():
        assert GAUGES_OF_COUNT.fullmatch(metric.name), metric.name
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert metric.help.endswith("."), metric.name
        bare = metric.name.removesuffix("_total")
        assert ("second" in bare or "byte" in bare) == bare.endswith(UNITS), metric.name
        assert not re.search(r"milli|micro|_ms\b|minutes|kilo|percent", metric.name), metric.name


def test_values_are_the_facts() -> None:
    seen = datetime.now(UTC) - timedelta(seconds=90)
    facts: dict[str, Fact] = {
        "events": 752,
        "decisions_by.rate.block": 3,
        "decisions_by.greylist.defer": 5,
        "decisions_by": 99,  # no labels: not one of them
        "records_waiting": 7,
        "last_event_at": seen.isoformat().replace("+00:00", "Z"),
        "written": datetime.now(UTC).timestamp(),
        "unheard_of": 1,
    }
    found = scraped(Said("worker-2", up=True, facts=facts, restarts=4))
    assert found["goaway_worker_events_total", "worker-2"] == 752
    assert found["goaway_worker_waiting_records", "worker-2"] == 7
    by_label = {key[1:]: value for key, value in found.items() if key[0] == "goaway_worker_decisions_total"}
    assert by_label == {("block", "worker-2", "rate"): 3, ("defer", "worker-2", "greylist"): 5}
    assert found["goaway_worker_event_age_seconds", "worker-2"] == pytest.approx(90, abs=5)
    assert found["goaway_stage_up", "worker-2"] == 1
    assert found["goaway_stage_restarts_total", "worker-2"] == 4
    assert found["goaway_stage_trouble", "worker-2"] == 0
    assert not [key for key in found if "unheard" in key[0]]


def test_texts_become_numbers_and_a_missing_fact_no_sample() -> None:
    shim: dict[str, Fact] = {"kafka": "connecting", "caught_up": False, "last_decision_at": None}
    shim["trouble"] = "x"
    zones: dict[str, Fact] = {"zones_out": "abcdefghijklmnopqrst.zen.dq.spamhaus.net, bl.example", "zones": 3}
    quiet: dict[str, Fact] = {"zones_out": "", "last_event_at": ""}
    found = scraped(
        Said("shim", up=True, facts=shim),
        Said("reputation", up=True, facts=zones),
        Said("reputation-2", up=False, facts=quiet),
        Said("worker", up=True, facts=quiet),
        Said("sample", up=True, facts={"lines_read": 5}),
    )
    assert found["goaway_shim_kafka_up", "shim"] == 0
    assert found["goaway_shim_caught_up", "shim"] == 0
    assert found["goaway_stage_trouble", "shim"] == 1
    assert found["goaway_reputation_zones_out", "reputation"] == 2
    assert found["goaway_reputation_zones_out", "reputation-2"] == 0
    assert found["goaway_stage_up", "reputation-2"] == 0
    assert found["goaway_ship_lines_total", "sample"] == 5
    assert not [key for key in found if "age_seconds" in key[0]]
    assert not [key for key in found if "dq.spamhaus" in "".join(key)]


def test_a_stage_that_hangs_is_down() -> None:
    status = StatusFile(None)
    assert not of_status("worker", status).up
    status.write({"events": 1})
    assert of_status("worker", status).up
    status.last["written"] = float(status.last["written"] or 0) - 11
    said = of_status("worker", status)
    assert not said.up
    found = scraped(said)
    assert found["goaway_stage_status_age_seconds", "worker"] >= 11
    assert found["goaway_stage_memory_bytes", "worker"] > 1e6
    assert found["goaway_stage_cpu_seconds_total", "worker"] > 0


def test_a_name_can_be_asked_for_alone() -> None:
    url = serve(("127.0.0.1", 0), lambda: [Said("sink", up=True, facts={"rows": 3, "lag": 1})])
    text = urllib.request.urlopen(f"{url}?name[]=goaway_sink_rows_total", timeout=5).read().decode()
    assert "goaway_sink_rows_total" in text
    assert "goaway_sink_waiting_records" not in text


def test_the_port_that_is_taken_is_named() -> None:
    url = serve(("127.0.0.1", 0), list)
    port = int(url.split(":")[2].partition("/")[0])
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{port} cannot be had") as raised:
        serve(("127.0.0.1", port), list)
    assert f"--metrics-listen 127.0.0.1:{port + 1}" in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], None),
        (["--metrics-listen", "127.0.0.1:9100"], ("127.0.0.1", 9100)),
        (["--metrics-listen", "[::1]:9100"], ("::1", 9100)),
        (["--metrics-listen", "localhost:9100"], ("localhost", 9100)),
        (["--metrics-listen", "0.0.0.0:9100", "--metrics-allow-remote"], ("0.0.0.0", 9100)),
        (["--metrics-allow-remote", "--metrics-listen", "mx1.example.org:1"], ("mx1.example.org", 1)),
    ],
)
def test_where_metrics_are_served(arguments: list[str], expected: tuple[str, int] | None) -> None:
    assert _parsed(arguments) == [expected]


@pytest.mark.parametrize("where", ["0.0.0.0:9100", "[::]:9100", "192.0.2.1:9100", "mx1.example.org:9100"])
def test_an_address_that_strangers_reach_needs_consent(where: str) -> None:
    with pytest.raises(UsageError, match="not loopback") as raised:
        _parsed(["--metrics-listen", where])
    assert "--metrics-allow-remote" in str(raised.value)


def _parsed(arguments: Iterable[str]) -> list[tuple[str, int] | None]:
    found: list[tuple[str, int] | None] = []

    @click.command()
    @metrics_option
    def command(metrics_listen: tuple[str, int] | None) -> None:
        found.append(metrics_listen)

    command.main(list(arguments), standalone_mode=False)
    return found


def test_a_counter_outlives_the_partition_that_it_was_counted_in() -> None:
    gone, left = Counts(), Counts(events=5, decisions=2, last_event_at=9)
    left.decided["rate.block"] = 2
    gone.add(left)
    gone.add(Counts(events=1, last_event_at=3))
    assert (gone.events, gone.decisions, gone.last_event_at) == (6, 2, 9)
    assert gone.decided == {"rate.block": 2}


def test_every_stage_of_goaway_has_metrics() -> None:
    assert set(METRICS) == {"ship", "worker", "shim", "sink", "reputation", "notify"}
