"""Two policies over one history: who differs, when, how long; what the command says and how it ends."""

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from streams.cli.replay import replay as command
from streams.errors import GoawayError, InvalidValueError, PolicyError, UnavailableError, UsageError
from streams.model.client import parse_network
from streams.model.decision import Decision
from streams.model.instant import MICROSECONDS, Instant
from streams.model.modules import Greylist, Protocol
from streams.model.policy import Block, Exemption, Limits, Policy
from streams.model.standing import PolicyIndex
from streams.replay.compare import compare
from streams.replay.compare_page import compare_page
from streams.replay.run import replay
from tests.unit.tune_history import MONITOR, SCANNER, SENDER, START, made, session, write

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


GREY = Policy(greylist=Greylist(enabled=True))
SESSION = Policy(protocol=Protocol(invalid_helo=True, forged_sender=True))


@pytest.mark.parametrize(
    ("a", "b", "unjudged", "same"),
    [
        (Policy(), GREY, [("greylist", "B", True)], False),
        (GREY, GREY, [("greylist", "both", False)], True),
        (GREY, Policy(greylist=Greylist(enabled=True, delay_s=60)), [("greylist", "both", True)], False),
        (
            GREY,
            replace(GREY, exemptions=(Exemption(module="greylist", network=parse_network(SENDER)),)),
            [("greylist", "both", True)],
            False,
        ),
        (SESSION, Policy(), [("invalid_helo", "A", True), ("forged_sender", "A", True)], False),
        (replace(SESSION, shadow=("protocol",)), replace(GREY, shadow=("greylist",)), [], True),
    ],
)
def test_what_no_history_shows_is_not_taken_for_the_same(
    a: Policy, b: Policy, unjudged: list[tuple[str, str, bool]], same: bool
) -> None:
    found = compare(a, b, EVENTS)
    assert [(it.what, it.where, it.differs) for it in found.unjudged] == unjudged
    assert (found.differences, found.same) == ([], same)
    whole = compare_page(found, names=("a", "b"))
    assert ("Same: of 4 clients" in whole) == (not unjudged)
    assert whole.count("cannot be judged from a log") == len(unjudged)


def test_the_command_does_not_say_same_where_greylisting_decides(
    files: tuple[str, str], tmp_path: Path
) -> None:
    grey = tmp_path / "grey.toml"
    grey.write_text("[greylist]\nenabled = true\n")
    found = run("defaults", str(grey), files[1])
    said = " ".join(found.output.split())
    assert (found.exit_code, "Same:" in said) == (1, False)
    assert "Greylisting cannot be judged from a log: it does not show whom the shim would put off" in said
    document = json.loads(run("defaults", str(grey), files[1], "--json").stdout)
    assert (document["same"], document["unjudged"][0]["where"]) == (False, "B")


@pytest.mark.parametrize("expires_s", [None, 10**6, 3600])
def test_a_block_list_entry_lasts_to_the_end_of_the_history(expires_s: int | None) -> None:
    expires = None if expires_s is None else Instant((START + expires_s) * MICROSECONDS)
    listed = Policy(blocks=(Block(network=parse_network(MONITOR), expires=expires),))
    found = compare(Policy(), listed, EVENTS)
    (it,) = found.differences
    first = next(it.at for it in EVENTS if it.address == MONITOR)
    assert it.b.blocked_us == (expires if expires_s == 3600 and expires else found.last) - first


def test_the_page_leaves_no_known_legitimate_sender_out() -> None:
    senders = [f"198.51.{n >> 8}.{n & 255}" for n in range(520)]
    events = [it for n, address in enumerate(senders) for it in session(n, address, n, mails=3)]
    others = [it for n in range(510) for it in session(9999 + n, f"203.0.{n >> 8}.{n & 255}", n)]
    blocked = tuple(Block(network=parse_network(it)) for it in ("198.51.0.0/16", "203.0.0.0/16"))
    whole = compare_page(compare(Policy(), Policy(blocks=blocked), [*events, *others]), names=("a", "b"))
    assert all(f">{it}<" in whole for it in senders)
    assert "And 10 others; --json has them." in whole


def run(a: str, b: str, *arguments: str) -> Result:
    environ = {"GOAWAY_POLICY": None, "COLUMNS": "60"}
    return CliRunner().invoke(command, ["--compare", a, b, *arguments], env=environ)


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "strict.toml").write_text("[limits]\nconnections_per_minute = 5\n")
    return str(tmp_path / "strict.toml"), str(write(tmp_path / "events.jsonl"))


def test_the_command_ends_with_1_where_somebody_differs(files: tuple[str, str], tmp_path: Path) -> None:
    strict, history = files
    found = run("defaults", strict, history, "--html", str(tmp_path / "compare.html"))
    assert found.exit_code == 1
    assert "senders among them: 1." in found.output.replace("\n", " ")
    assert found.output.index(SENDER) < found.output.index(SCANNER)
    assert max(map(len, found.stdout.splitlines())) <= 60
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


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (("--compare", "A", "A"), UsageError, "takes two policies, then the history"),
        (("--compare", "A", "A", "HISTORY", "--verify"), UsageError, "--compare and --verify exclude"),
        (("--compare", "A", "A", "HISTORY", "--to-kafka"), UsageError, "--compare and --to-kafka exclude"),
        (("--compare", "A", "A", "HISTORY", "--jobs", "2"), UsageError, "--compare and --jobs exclude"),
        (("--compare", "A", "A", "HISTORY", "--from", "2026-11-01"), UsageError, "exclude one another"),
        (("HISTORY", "--html", "page.html"), UsageError, "--html is for --compare"),
        (
            ("--compare", "A", "A", "HISTORY", "--html", "/no/x"),
            UnavailableError,
            "no folder /no. Try: mkdir",
        ),
        (("--compare", "A", "BROKEN", "HISTORY"), PolicyError, "Try: goaway policy check BROKEN"),
        (("--compare", "A", "/no/b", "HISTORY"), PolicyError, "/no/b: No such file or directory. Try: ls"),
        (("--compare", "A", "A", "EMPTY"), InvalidValueError, "no events in 0 lines. Try: ls -l EMPTY"),
        (("--compare", "A", "A", "A"), InvalidValueError, "2 of them unreadable. Try: goaway parse A"),
        (("--compare", "A", "A", "/no/log"), UnavailableError, "/no/log: cannot be read"),
    ],
)
def test_an_error_names_the_place_and_the_next_command(
    files: tuple[str, str], tmp_path: Path, arguments: tuple[str, ...], kind: type[GoawayError], said: str
) -> None:
    (tmp_path / "broken.toml").write_text("[limits]\ncool_down_s = -5\n")
    (tmp_path / "empty.log").touch()
    names = {
        "A": files[0],
        "HISTORY": files[1],
        "BROKEN": str(tmp_path / "broken.toml"),
        "EMPTY": str(tmp_path / "empty.log"),
    }
    found = CliRunner().invoke(command, [names.get(it, it) for it in arguments])
    assert isinstance(found.exception, kind)
    words = [names.get(it, it) for it in said.split(" ")]
    assert " ".join(words) in str(found.exception)


def test_an_empty_history_decides_nothing_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.log").touch()
    found = CliRunner().invoke(command, [str(tmp_path / "empty.log"), "--policy", "defaults"])
    assert (found.exit_code, found.stdout) == (0, "")
    assert "no events in 0 lines" in found.stderr
