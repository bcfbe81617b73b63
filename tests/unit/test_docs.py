"""The documentation is held to the code, both ways: commands, flags, settings, policy keys, topics, packages.

The `…_of` functions read documents and are tried on spoilt ones, so that a check that cannot fail shows.
"""

import ast
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import click
import pytest

from streams.agents.watchdog import EXIT_CODE
from streams.cli.main import FAULT, goaway
from streams.config import SETTINGS
from streams.errors import GoawayError
from streams.metrics import METRICS, everything
from streams.model.event import Event
from streams.model.policy import MODULES, Policy
from streams.topics import CANDIDATE_HEADER, OFFSET_HEADER, SOURCE_HEADER, TOPICS
from streams.wire.policy_log import CHANGE_HEADER
from streams.wire.policy_settings import LIMITS
from streams.wire.policy_tables import TABLES as POLICY_TABLES
from streams.wire.policy_toml import entries_from, read_policy
from tests.parts import ROOT

PAGES: Final = (
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "sql" / "README.md",
)
HELP: Final = "--help"
TABLE_KEYS: Final = {
    f"[[{table.name}]]" if table.named_by else f"[{table.name}]": (
        *table.named_by,
        *(key for key in table.keys if not table.named_by or key not in LIMITS),
    )
    for table in POLICY_TABLES
}
"""Table → its keys as documented: of tables that take any key of `[limits]` only their own."""
WITH_LIMITS: Final = ("[[networks]]", "[[schedules]]")


def page(name: str) -> str:
    """A documentation page's text."""
    return (ROOT / name).read_text(encoding="utf-8")


def sections_of(text: str) -> dict[str, str]:
    """Heading (without its marks) → what stands below it, up to the next; code blocks have no headings."""
    found: dict[str, str] = {}
    heading, fenced = "", False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith("```")
        if not fenced and re.match(r"#{1,4} ", line):
            heading = line.lstrip("# ").strip()
            found[heading] = ""
        elif heading:
            found[heading] += line + "\n"
    return found


def rows_of(text: str) -> list[list[str]]:
    """Cells of every table row, without headings and rulers; `\\|` is a bar within a cell."""
    rows = []
    lines = [line.strip() for line in text.splitlines()]
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        ruler = re.fullmatch(r"\|(?: ?:?-+:? ?\|)+", line) is not None
        heading = re.fullmatch(r"\|(?: ?:?-+:? ?\|)+", after) is not None
        if line.startswith("|") and not ruler and not heading:
            cells = re.split(r"(?<!\\)\|", line.strip("|"))
            rows.append([cell.strip().replace("\\|", "|") for cell in cells])
    return rows


def coded(cell: str) -> str:
    """What stands in the first pair of backquotes of a cell; empty where nothing does."""
    found = re.match(r"`([^`]*)`", cell)
    return found.group(1) if found else ""


def names_of(text: str) -> list[str]:
    """First words of the first cells of all tables."""
    return [coded(row[0]).split(" ")[0] for row in rows_of(text)]


def blocks_of(text: str) -> list[str]:
    """Content of every fenced code block."""
    return [
        found.group(1) for found in re.finditer(r"^ *```\w*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    ]


def command_lines_of(text: str) -> list[list[str]]:
    """Arguments of every `goaway …` that a page tells people to type: in code blocks and in running text."""
    inline = re.findall(
        r"`(goaway(?: [^`]*)?)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.M)
    )
    typed = [
        line for block in blocks_of(text) for line in block.splitlines() if not line.lstrip().startswith("#")
    ]
    found = []
    for line in [*inline, *typed]:
        for part in re.split(r"\|(?=\s)|&&", line):
            words = part.strip()
            if re.match(r"goaway(?!:)( |$)", words):
                found.append(shlex.split(words.partition("   #")[0])[1:])
    return found


def commands() -> dict[str, click.Command]:
    """Every command by its whole name, groups included."""
    found: dict[str, click.Command] = {}

    def walk(name: str, command: click.Command) -> None:
        found[name] = command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for below in command.list_commands(context):
                child = command.get_command(context, below)
                assert child is not None
                walk(f"{name} {below}", child)

    walk("goaway", goaway)
    return found


def flags(command: click.Command) -> dict[str, str]:
    """Flag → its default as documented; hidden ones are left out."""
    found = {}
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            for flag in parameter.opts:
                found[flag] = _default(parameter)
    return found


def _default(option: click.Option) -> str:
    if option.is_flag:
        return ""
    value: Any = option.get_default(click.Context(click.Command("x"), resilient_parsing=True), call=False)
    if isinstance(value, (tuple, list)):
        value = value[0] if value else ""
    return str(value) if isinstance(value, (str, int, float, Path)) else ""


def parses(arguments: list[str]) -> str:
    """Empty where click takes these arguments, else why not. Nothing is run."""
    command: click.Command = goaway
    parent: click.Context | None = None
    rest = [*arguments]
    try:
        while isinstance(command, click.Group):
            if not rest or rest[0].startswith("-"):
                context = command.make_context("goaway", rest or [HELP], parent=parent)
                return "" if context else "no context"
            parent = click.Context(command, parent=parent)
            below = command.get_command(parent, rest[0])
            if below is None:
                return f"no command {rest[0]}"
            command, rest = below, rest[1:]
        # options that stand in prose without the arguments that they need are not held against it
        if rest or not any(p.required for p in command.params):
            command.make_context("goaway", rest, parent=parent)
    except click.exceptions.Exit:
        return ""
    except (click.ClickException, GoawayError) as error:
        return str(error) or type(error).__name__
    return ""


def broken_links_of(text: str, place: Path) -> list[str]:
    """Relative links to files that are not there, and to headings that are not."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (place / name).resolve() if name else None
        if file is not None and not file.exists():
            broken.append(target)
        elif anchor and file is not None:
            headings = sections_of(file.read_text(encoding="utf-8"))
            if anchor not in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}:
                broken.append(target)
    return broken


def test_every_command_has_a_section_and_every_section_is_a_command() -> None:
    documented = {name for name in sections_of(page("docs/commands.md")) if name.startswith("goaway")}
    assert documented == set(commands())


@pytest.mark.parametrize("name", commands())
def test_flags_and_their_defaults_are_documented_both_ways(name: str) -> None:
    rows = rows_of(sections_of(page("docs/commands.md"))[name])
    documented = {coded(row[0]).split(" ")[0]: coded(row[1]) for row in rows}
    if name == "goaway":
        assert documented.pop(HELP) == ""
    assert documented == flags(commands()[name])


@pytest.mark.parametrize("name", commands())
def test_every_command_is_shown_being_used(name: str) -> None:
    if isinstance(commands()[name], click.Group) and name != "goaway":
        return
    section = sections_of(page("docs/commands.md"))[name]
    shown = [line for block in blocks_of(section) for line in block.splitlines()]
    assert any(re.search(rf"\b{name}( |$)", line) for line in shown)


def test_every_exit_code_is_documented() -> None:
    documented = {row[0] for row in rows_of(sections_of(page("docs/commands.md"))["Exit codes"])}
    raised = {str(GoawayError.exit_code), *(str(kind.exit_code) for kind in _below(GoawayError))}
    assert raised <= documented
    assert documented == raised | {"0", str(EXIT_CODE), str(FAULT), "130"}


def _below(kind: type[GoawayError]) -> list[type[GoawayError]]:
    return [found for below in kind.__subclasses__() for found in [below, *_below(below)]]


def test_readme_lists_the_commands() -> None:
    named = set(names_of_commands(sections_of(page("README.md"))["Commands"]))
    assert named == {name for name in commands() if name.count(" ") == 1}


def names_of_commands(text: str) -> list[str]:
    """Commands in the first cells of a table."""
    return [coded(row[0]) for row in rows_of(text)]


@pytest.mark.parametrize("place", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_command_lines_parse(place: Path) -> None:
    lines = command_lines_of(place.read_text(encoding="utf-8"))
    assert {" ".join(line): why for line in lines if (why := parses(line))} == {}


@pytest.mark.parametrize("place", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(place: Path) -> None:
    assert broken_links_of(place.read_text(encoding="utf-8"), place.parent) == []


@pytest.mark.parametrize("place", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_exist(place: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", page("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^\s*|=1 )make ([a-z]+)", place.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets


def test_settings_are_documented_both_ways() -> None:
    rows = rows_of(page("docs/settings.md").partition("\n## ")[0])
    documented = {coded(row[0]): coded(row[1]) for row in rows}
    assert documented == {setting.name: setting.default for setting in SETTINGS}
    assert {coded(row[0]) for row in rows if "(secret)" in row[2]} == {s.name for s in SETTINGS if s.secret}
    for setting in SETTINGS:
        assert not setting.secret or f"`{setting.name}_FILE`" in page("docs/settings.md")


def test_metrics_are_documented_both_ways() -> None:
    text = page("docs/metrics.md")
    documented = {
        coded(row[0]): (row[1], tuple(re.findall(r"`(\w+)`", row[2])))
        for row in rows_of(text)
        if coded(row[0]).startswith("goaway_")
    }
    assert documented == {metric.name: (metric.kind, metric.labels) for metric in everything()}
    assert [name for name in METRICS if name not in sections_of(text)] == []
    named = {name for name in re.findall(r"goaway_\w+", text) if not name.endswith("_")}
    assert named == set(documented)


def test_policy_keys_and_defaults_are_documented_both_ways() -> None:
    sections = sections_of(page("docs/policy.md"))
    tables = {name.strip("`"): text for name, text in sections.items() if name.startswith("`[")}
    assert set(tables) == set(TABLE_KEYS)
    for table, keys in TABLE_KEYS.items():
        assert names_of(tables[table]) == list(keys), table
    rows = entries_from(Policy(networks=()))
    for key, expected in rows.items():
        table = f"[{key}]"
        written = {
            coded(row[0]): tomllib.loads(f"v = {coded(row[1])}")["v"] for row in rows_of(tables[table])
        }
        assert written == expected, table
    assert [module for module in MODULES if f"`{module}`" not in tables["[[exemptions]]"]] == []


def test_policy_keys_of_this_test_are_those_of_the_reader() -> None:
    """A key of the reader that `TABLE_KEYS` lacks would be documented nowhere."""
    for table, keys in TABLE_KEYS.items():
        name = table.strip("[]")
        content = f"{'[[' if '[[' in table else '['}{name}{']]' if '[[' in table else ']'}\nzzz = 1\n"
        with pytest.raises(GoawayError) as raised:
            read_policy(content)
        listed = re.search(r"known are (.*?)\.? ?Try|known are (.*)", str(raised.value))
        assert listed is not None, str(raised.value)
        known = {word.strip(" .") for word in (listed.group(1) or listed.group(2)).split(",")}
        assert known == set(keys) | (set(LIMITS) if table in WITH_LIMITS else set()), table


def test_policy_examples_of_the_documentation_are_good() -> None:
    examples = re.findall(
        r"^ *```toml\n(.*?)^ *```", page("README.md") + page("docs/policy.md"), re.DOTALL | re.M
    )
    assert len(examples) >= 2
    for example in examples:
        read_policy(re.sub(r"^ {3}", "", example, flags=re.MULTILINE))
    assert read_policy(examples[-1]) == Policy()


def test_example_policy_is_the_defaults_and_has_every_key() -> None:
    example = page("deploy/policy.example.toml")
    assert read_policy(example) == Policy()
    uncommented = re.sub(r"^# ?(?=\[\[|\w+ = )", "", example, flags=re.MULTILINE)
    whole = tomllib.loads(uncommented)
    read_policy(uncommented)
    for table, keys in TABLE_KEYS.items():
        entries = whole[table.strip("[]")]
        used = {key for entry in (entries if isinstance(entries, list) else [entries]) for key in entry}
        assert set(keys) <= used, table


def test_topics_are_documented_both_ways() -> None:
    rows = {coded(row[0]): row for row in rows_of(page("docs/topics.md").partition("\n## ")[0])}
    assert list(rows) == [spec.name for spec in TOPICS]
    for spec in TOPICS:
        _, key, value, schema, partitions, configuration = rows[spec.name]
        assert (key, value) == (spec.key, spec.value)
        assert set(re.findall(r"`([^`]*)`", configuration)) == {f"{k}={v}" for k, v in spec.config.items()}
        assert (partitions == "1") == (spec.partitions == 1)
        assert ".v1.json](../schemas/" in schema


def test_schemas_are_named_with_the_topics() -> None:
    named = set(re.findall(r"\(\.\./schemas/([\w.]+)\)", page("docs/topics.md")))
    assert named == {path.name for path in (ROOT / "schemas").glob("*.json")}
    required = json.loads(page("schemas/event.v1.json"))["required"]
    listed = re.search(r"only (.*?) are required", page("docs/topics.md"), re.DOTALL)
    assert listed is not None
    assert re.findall(r"`(\w+)`", listed.group(1)) == required
    assert set(required) <= set(Event.__struct_fields__)


def test_headers_are_documented_both_ways() -> None:
    documented = names_of(sections_of(page("docs/topics.md"))["Headers"])
    assert sorted(documented) == sorted([SOURCE_HEADER, OFFSET_HEADER, CHANGE_HEADER, CANDIDATE_HEADER])


def test_architecture_names_every_package_and_module_of_streams() -> None:
    top = {
        f"streams/{path.name}"
        for path in (ROOT / "streams").iterdir()
        if path.suffix == ".py" or path.is_dir()
        if not path.name.startswith("_")
    }
    assert set(names_of(sections_of(page("ARCHITECTURE.md"))["Layers"])) == top
    below = {path.parent.name for path in (ROOT / "streams").glob("*/*/__init__.py")}
    assert {
        name for name in below if f"`{name}`" not in sections_of(page("ARCHITECTURE.md"))["Layers"]
    } == set()


def test_architecture_has_the_layers_of_the_contract() -> None:
    contract = tomllib.loads(page("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]["layers"]
    written = blocks_of(sections_of(page("ARCHITECTURE.md"))["Layers"])[0].splitlines()
    assert [re.findall(r"\w+", line) for line in written] == [re.findall(r"\w+", layer) for layer in contract]


def test_architecture_gives_a_reason_for_every_dependency() -> None:
    project = tomllib.loads(page("pyproject.toml"))["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["embedded"]]
    names = {found.group() for line in declared if (found := re.match(r"[\w-]+", line))}
    cells = [row[0] for row in rows_of(sections_of(page("ARCHITECTURE.md"))["Dependencies"])]
    assert set(re.findall(r"[\w-]+", re.sub(r"\(.*?\)", "", " ".join(cells)))) == names


def test_architecture_has_every_faust_setting_of_the_worker() -> None:
    def given(file: str, function: str) -> set[str]:
        calls = [
            node
            for node in ast.walk(ast.parse(page(file)))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == function
        ]
        return {word.arg for word in calls[0].keywords if word.arg}

    of_every_stage = given("streams/agents/stage.py", "faust.App")
    own = given("streams/agents/decide.py", "stage_app")
    used = of_every_stage | (own - {"partitions", "instance", "session_timeout_s"})
    explained = sections_of(page("ARCHITECTURE.md"))["Decisions about Kafka and Faust"]
    plain = {
        "broker",
        "broker_credentials",
        "topic_partitions",
        "datadir",
        "key_serializer",
        "value_serializer",
    }
    assert set(re.findall(r"`(\w+)`", " ".join(row[0] for row in rows_of(explained)))) == used - plain


def test_policy_service_is_written_as_postfix_reads_it() -> None:
    """Braces stand around the service, not around the restriction: else Postfix defers all mail."""
    for name in ("README.md", "docs/shim.md", "deploy/postfix/main.cf.snippet"):
        assert not re.search(r"\{\s*check_policy_service", page(name)), name
        assert re.search(
            r"check_policy_service \{ inet:127\.0\.0\.1:10040, .*default_action=DUNNO", page(name)
        ), name


def test_readme_is_short_and_the_picture_is_one() -> None:
    assert len(page("README.md").splitlines()) <= 185
    picture = ElementTree.fromstring(page("docs/flow.svg"))
    written = {element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert written >= {
        "Postfix",
        "ship",
        "worker",
        "shim",
        "sink",
        "smtp.events",
        "smtp.decisions",
        "smtp.warnings",
    }


def test_checks_can_fail() -> None:
    assert parses(["ship", "--no-such-flag", "x"])
    assert parses(["shp"])
    assert parses(["topics", "create", "--partitions", "many"])
    assert parses(["policy", "chek", "x"])
    assert not parses(["up", "/var/log/mail.log", "--policy", "policy.toml"])
    assert command_lines_of(
        "```sh\nzcat x | goaway parse - --quit   # why\n```\nand `goaway up --smple`"
    ) == [
        ["up", "--smple"],
        ["parse", "-", "--quit"],
    ]
    assert broken_links_of("[a](no-such-file.md) [b](policy.md#no-such-heading)", ROOT / "docs") == [
        "no-such-file.md",
        "policy.md#no-such-heading",
    ]
    assert rows_of("| a | b |\n|---|---|\n| `--x a\\|b` | 1 |") == [["`--x a|b`", "1"]]
    assert list(sections_of("# A\n```\n# no heading\n```\n## B c\n")) == ["A", "B c"]
