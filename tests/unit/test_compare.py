"""Two policies over one history: who differs, when, how long; what the command says and how it ends."""

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from streams.cli.compare import compare as command
from streams.errors import UsageError
from streams.model.client import parse_network
from streams.model.decision import Decision
from streams.model.policy import Block, Exemption, Limits, Policy
from streams.model.standing import PolicyIndex
from streams.replay.compare import compare
from streams.replay.compare_page import compare_page
from streams.replay.run import replay
from tests.unit.tune_history import MONITOR, SCANNER, SENDER, made, write

EVENTS = made()
STRICT = Policy(limits=Limits(connections_per_minute=5))


def test_the_same_policy_differs_in_nothing() -> None:
    found = compare(Policy(), Policy(), EVENTS)
    assert (found.differences, found.refused_a, found.refused_b) == ([], 1, 1)


def test_known_senders_come_first_and_figures_are_those_of_replays() -> None:
    found = compare(Policy(), STRICT, EVENTS)
    assert [(it.client, it.where, it.protected) for it in found.differences] == [
        (SENDER, "B", True),
        (SCANNER, "both", False),
    ]
    for policy, side in ((Policy(), "a"), (STRICT, "b")):
        blocks = [it for it in replay(PolicyIndex(policy), EVENTS) if isinstance(it, Decision)]
        count = Counter(it.client for it in blocks)
        for one in found.differences:
            refusals = getattr(one, side)
            assert refusals.blocks == count[one.client]
            assert refusals.blocked_us == 60_000_000 * count[one.client]
            own = [it for it in blocks if it.client == one.client]
            assert refusals.first == (own[0].at if own else None)
            attempts = sum(
                it.kind in ("connect", "mail")
                and any(block.event != it.id and block.at <= it.at < (block.until or 0) for block in own)
                for it in EVENTS
                if it.client == one.client
            )
            assert refusals.attempts == attempts


def test_an_exemption_and_a_block_entry_are_seen() -> None:
    exempt = Policy(exemptions=(Exemption(module="rate", network=parse_network(SCANNER)),))
    listed = Policy(blocks=(Block(network=parse_network(MONITOR)),))
    found = compare(exempt, listed, EVENTS)
    by_client = {str(it.client): it for it in found.differences}
    assert (by_client[MONITOR].where, by_client[MONITOR].b.triggers) == ("B", ["blocklist: blocks"])
    assert by_client[MONITOR].b.attempts == 480
    assert by_client[SCANNER].b.triggers == ["rate: connections_per_minute"]


def test_shadow_refuses_nobody() -> None:
    found = compare(replace(STRICT, shadow=("rate",)), Policy(shadow=("rate",)), EVENTS)
    assert (found.differences, found.refused_a, found.attempts_a) == ([], 0, 0)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), env={"GOAWAY_POLICY": None})


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "strict.toml").write_text("[limits]\nconnections_per_minute = 5\n")
    return str(tmp_path / "strict.toml"), str(write(tmp_path / "events.jsonl"))


def test_the_command_ends_with_1_where_somebody_differs(files: tuple[str, str], tmp_path: Path) -> None:
    strict, history = files
    found = run("defaults", strict, history, "--html", str(tmp_path / "compare.html"))
    assert found.exit_code == 1
    assert "1 of them known" in found.output.replace("\n", " ")
    assert found.output.index(SENDER) < found.output.index(SCANNER)
    assert SENDER in (tmp_path / "compare.html").read_text()


def test_the_command_ends_with_0_where_all_is_the_same(files: tuple[str, str]) -> None:
    strict, history = files
    found = run(strict, strict, history)
    assert (found.exit_code, "Same:" in found.output) == (0, True)


def test_json_has_everything(files: tuple[str, str]) -> None:
    strict, history = files
    found = run("defaults", strict, history, "--json")
    document = json.loads(found.stdout)
    assert (found.exit_code, document["same"], document["clients"]) == (1, False, 4)
    first = document["differences"][0]
    assert (first["client"], first["legitimate"], first["b"]["blocked_s"]) == (SENDER, True, 60)
    assert len(first["b"]["spans"]) == first["b"]["blocks"] == 1


def test_policies_that_mean_different_clients_are_refused(files: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "wide.toml").write_text("[clients]\nipv4_prefix = 24\n")
    found = run("defaults", str(tmp_path / "wide.toml"), files[1])
    assert isinstance(found.exception, UsageError)


def test_the_page_escapes_what_remotes_wrote() -> None:
    evil = "<img src=x onerror=alert(1)>"
    whole = compare_page(
        compare(Policy(), STRICT, [replace(it, ptr=evil) for it in EVENTS]), names=("defaults", evil)
    )
    assert "<img" not in whole
