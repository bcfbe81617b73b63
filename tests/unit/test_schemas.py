"""One fact, one home: the model's fields, the JSON Schemas, the sink's tables and sql/ say the same."""

import json
import re
from typing import Any, Final, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from streams.audit import tables
from streams.audit.migrations import read_migrations
from streams.audit.rows import Letter
from streams.audit.tables import BOUNDS, PLACE, TABLES, Table
from streams.errors import InvalidValueError
from streams.model.client import Address, Client, ClientPrefixes, parse_address
from streams.model.deadletter import MAX_LETTER_TEXT, DeadLetter, dead_letter
from streams.model.decision import Action, Decision, Evidence, LimitWarning, Trigger
from streams.model.event import Event, EventKind
from streams.model.instant import Instant
from streams.resources import schemas_folder
from streams.wire.frames import decode_dead_letter, decode_decision, decode_event, decode_warning, encode

RECORDS: Final[dict[str, type[msgspec.Struct]]] = {
    "event": Event,
    "decision": Decision,
    "warning": LimitWarning,
    "deadletter": DeadLetter,
}
STORED: Final[dict[str, Table]] = {
    "event": tables.EVENT_ROWS,
    "decision": tables.DECISION_ROWS,
    "warning": tables.WARNING_ROWS,
    "deadletter": tables.DEADLETTER_ROWS,
}
each_record = pytest.mark.parametrize("name", RECORDS)


def schema(name: str) -> dict[str, Any]:
    """The schema as shipped."""
    found = json.loads((schemas_folder() / f"{name}.v1.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def validator(name: str) -> Draft202012Validator:
    """Of the schema as shipped."""
    return Draft202012Validator(schema(name))


def properties(name: str) -> dict[str, dict[str, Any]]:
    """Every property with its references resolved; `evidence.count` for those of the evidence."""
    whole = schema(name)
    flat: dict[str, dict[str, Any]] = {}
    for field, described in whole["properties"].items():
        reference = described.get("$ref", "").rpartition("/")[2]
        if reference == "evidence":
            flat |= {
                f"evidence.{key}": inner for key, inner in whole["$defs"]["evidence"]["properties"].items()
            }
        else:
            flat[field] = {**whole.get("$defs", {}).get(reference, {}), "ref": reference, **described}
    return flat


# --- the files


def test_every_schema_is_a_schema_and_says_which() -> None:
    names = {file.name for file in schemas_folder().glob("*.json")}
    assert names >= {f"{name}.v1.json" for name in RECORDS}
    for name in RECORDS:
        Draft202012Validator.check_schema(schema(name))
        assert schema(name)["$id"] == f"urn:goaway:schema:{name}:v1"
        assert schema(name)["description"]


# --- model and schema


def _hook(kind: type[Any]) -> dict[str, Any]:
    assert kind is Instant
    return {"type": "string", "instant": True}


def _model(kind: type[msgspec.Struct]) -> dict[str, Any]:
    (found,), components = msgspec.json.schema_components([kind], schema_hook=_hook)
    return {**components[found["$ref"].rpartition("/")[2]], "components": components}


@each_record
def test_the_fields_are_those_of_the_model_in_their_order(name: str) -> None:
    ours, model = schema(name), _model(RECORDS[name])
    assert list(ours["properties"]) == list(model["properties"])
    assert ours["required"] == model["required"]


@each_record
def test_types_choices_and_defaults_are_those_of_the_model(name: str) -> None:
    model = _model(RECORDS[name])
    for field, described in properties(name).items():
        fields = model["properties"]
        if field.startswith("evidence."):
            fields = model["components"]["Evidence"]["properties"]
        expected = fields[field.rpartition(".")[2]]
        if "anyOf" in expected:
            assert described["anyOf"] == [{"$ref": "#/$defs/instant"}, {"type": "null"}], field
        elif "enum" in expected:
            assert sorted(described["enum"]) == sorted(expected["enum"]), field
        else:
            assert described["type"] == expected["type"], field
            assert (described["ref"] == "instant" if "ref" in described else False) == ("instant" in expected)
        assert described.get("default") == expected.get("default"), field


@each_record
def test_every_field_is_described(name: str) -> None:
    for field, described in {**schema(name)["properties"], **properties(name)}.items():
        assert described.get("description", "").endswith((".", "…")), field


# --- schema and table


@each_record
def test_every_field_is_a_column_of_its_type(name: str) -> None:
    fields = properties(name)
    columns = {column.field.removeprefix("letter."): column for column in STORED[name].columns}
    if name == "deadletter":
        del columns["at"], columns["topic"]
    assert set(columns) == set(fields)
    for field, described in fields.items():
        column = columns[field]
        assert column.name == field.replace(".", "_")
        if described.get("ref") == "instant":
            assert column.type == tables.INSTANT
        elif "anyOf" in described:
            assert column.type == f"Nullable({tables.INSTANT})"
        elif field == "address":
            assert column.type == "IPv6"
        elif described.get("type") == "integer":
            assert (described["minimum"], described["maximum"]) == BOUNDS[column.type], field
        elif described.get("type") == "boolean":
            assert column.type == "Bool"
        elif "enum" in described:
            assert column.type == tables.LABEL
        else:
            assert column.type in ("String", tables.LABEL), field


# --- table and sql

COLUMN: Final = re.compile(
    r"^\s+(?P<name>\w+) (?P<type>\S+?(?:\(.*?\)+)?)"
    r" COMMENT '(?P<comment>(?:[^'\\]|\\.)+)'(?: CODEC\(.+\))?,?$"
)


def created() -> dict[str, str]:
    """The CREATE TABLE statement of every table in sql/."""
    statements = [statement for migration in read_migrations() for statement in migration.statements]
    found = {}
    for statement in statements:
        match = re.match(r"CREATE TABLE IF NOT EXISTS (\w+)\n", statement)
        if match:
            found[match[1]] = statement
    return found


def columns_of(statement: str) -> list[tuple[str, str, str]]:
    """(name, type, comment) of every column line."""
    body = statement[statement.index("(\n") + 2 : statement.index("\n)\n")]
    matches = [(line, COLUMN.match(line)) for line in body.splitlines()]
    assert all(match for _, match in matches), [line for line, match in matches if not match]
    return [(match["name"], match["type"], match["comment"]) for _, match in matches if match]


ADDED: Final = re.compile(
    r"^    ADD COLUMN IF NOT EXISTS (?P<name>\w+) (?P<type>\S+?(?:\(.*?\)+)?)(?: DEFAULT '\w+')?"
    r" COMMENT '(?P<comment>(?:[^'\\]|\\.)+)'(?: CODEC\(.+\))? AFTER (?P<after>\w+),?$"
)
RECOMMENTED: Final = re.compile(
    r"^    COMMENT COLUMN IF EXISTS (?P<name>\w+) '(?P<comment>(?:[^'\\]|\\.)+)',?$"
)


COMPUTED: Final = re.compile(
    r"^    ADD COLUMN IF NOT EXISTS \w+ \S+ ALIAS .+ COMMENT '(?:[^'\\]|\\.)+' AFTER \w+$", re.DOTALL
)


def columns() -> dict[str, list[tuple[str, str, str]]]:
    """(name, type, comment) of every table's columns, after all migrations; none that are computed."""
    found = {name: columns_of(statement) for name, statement in created().items()}
    for migration in read_migrations():
        for statement in migration.statements:
            head, *actions = statement.splitlines()
            if not head.startswith("ALTER TABLE ") or head.endswith("_view"):
                continue
            if COMPUTED.match("\n".join(actions)):
                continue
            table = found[head.removeprefix("ALTER TABLE ")]
            for action in actions:
                names = [name for name, _, _ in table]
                if match := ADDED.match(action):
                    table.insert(
                        names.index(match["after"]) + 1, (match["name"], match["type"], match["comment"])
                    )
                else:
                    match = RECOMMENTED.match(action)
                    assert match, action
                    at = names.index(match["name"])
                    table[at] = (table[at][0], table[at][1], match["comment"])
    return found


@pytest.mark.parametrize("table", [*TABLES, tables.EVENT_LINE_ROWS], ids=lambda table: table.name)
def test_sql_creates_what_the_sink_fills(table: Table) -> None:
    in_sql = [(name, kind) for name, kind, _ in columns()[table.name]]
    assert in_sql == [*((column.name, column.type) for column in table.columns), *PLACE]


def test_a_line_is_taken_apart_as_it_is_written() -> None:
    """The view's fields are an event's, in their order; what it selects are the columns of `events`."""
    [view] = [
        statement
        for migration in read_migrations()
        for statement in migration.statements
        if " event_lines_view " in statement
    ]
    types = {column.field: column.type for column in tables.EVENT_ROWS.columns}
    types |= {"at": "String", "address": "String"}  # they come in columns of their own
    fields = re.findall(r"^            (\w+) (\S+?),?$", view, re.MULTILINE)
    assert fields == [(name, types[name]) for name in Event.__struct_fields__]
    selected = re.findall(r"^    (?:event\.(\w+) AS )?(?!SELECT)(\w+),?$", view, re.MULTILINE)
    assert [name for _, name in selected] == tables.EVENT_ROWS.names
    assert all(field in ("", name) for field, name in selected)
    own = {name for field, name in selected if not field}
    assert own == {*tables.EVENT_LINE_ROWS.names} - {"line"}


def test_comments_name_every_choice() -> None:
    for name, table in STORED.items():
        comments = {column: comment for column, _, comment in columns()[table.name]}
        for field, described in properties(name).items():
            for choice in described.get("enum", ()):
                assert re.search(rf"\b{choice}\b", comments[field]), (table.name, field, choice)


def test_every_table_and_column_is_described_and_deduplicates() -> None:
    for name, statement in created().items():
        assert re.search(r"\nCOMMENT '.+'$", statement), name
        remembers = re.search(r"\nSETTINGS non_replicated_deduplication_window = [1-9]\d{2,}\n", statement)
        assert remembers or "\nENGINE = Null\n" in statement, name
        assert all(comment for _, _, comment in columns_of(statement)), name
    for table in TABLES:
        assert "\nPARTITION BY toYYYYMM(at)\n" in created()[table.name]


# --- real samples

INSTANTS = st.integers(0, BOUNDS[tables.INSTANT][1]).map(Instant)
ADDRESSES = st.ip_addresses().map(lambda ip: parse_address(str(ip)))
TEXTS = st.text(max_size=40)
U16 = st.integers(0, BOUNDS["UInt16"][1])
U32 = st.integers(0, BOUNDS["UInt32"][1])
U64 = st.integers(0, BOUNDS["UInt64"][1])
IDS = st.text("0123456789abcdef", min_size=16, max_size=16)


def client_of(address: Address) -> Client:
    """With the default prefixes."""
    return ClientPrefixes().client_of(address)


EVENTS = ADDRESSES.flatmap(
    lambda address: st.builds(
        Event,
        id=IDS,
        at=INSTANTS,
        kind=st.sampled_from(get_args(EventKind)),
        client=st.just(client_of(address)),
        address=st.just(address),
        **dict.fromkeys(("session", "host", "service", "ptr", "helo", "sender", "recipient"), TEXTS),
        **dict.fromkeys(("queue_id", "sasl_user", "violation", "detail", "source"), TEXTS),
        code=U16,
        size=U64,
        ttl_s=U32,
        position=U64,
    )
)
EVIDENCE = st.builds(Evidence, count=U64, limit=U64, window_s=U32, network=TEXTS, strike=U32, note=TEXTS)
WHOSE = {"id": IDS, "at": INSTANTS, "address": ADDRESSES, "evidence": EVIDENCE, "event": IDS}
DECISIONS = st.builds(
    Decision,
    until=st.none() | INSTANTS,
    action=st.sampled_from(get_args(Action)),
    client=ADDRESSES.map(client_of),
    trigger=st.sampled_from(get_args(Trigger)),
    code=U16,
    shadow=st.booleans(),
    **dict.fromkeys(("rule", "reason", "policy", "session", "host", "triplet", "pool"), TEXTS),
    **WHOSE,
)
WARNINGS = st.builds(
    LimitWarning,
    client=ADDRESSES.map(client_of) | TEXTS.filter(bool).map(Client),  # a zone's domain, a stage's name
    about=st.sampled_from(["limit", "zone", "partner", "pipeline"]),
    **dict.fromkeys(("rule", "policy", "host", "text"), TEXTS),
    **WHOSE,
)
LETTERS = st.builds(dead_letter, TEXTS, U64, TEXTS, st.binary(max_size=MAX_LETTER_TEXT + 9))


def check(name: str, record: Event | Decision | LimitWarning | DeadLetter) -> None:
    """What is written validates, and fits into its table."""
    validator(name).validate(json.loads(encode(record)))
    STORED[name].check([Letter(Instant(0), "t", record) if isinstance(record, DeadLetter) else record])


@given(EVENTS)
def test_events_validate(event: Event) -> None:
    check("event", event)
    assert decode_event(encode(event)) == event


@given(DECISIONS)
def test_decisions_validate(decision: Decision) -> None:
    check("decision", decision)
    assert decode_decision(encode(decision)) == decision


@given(WARNINGS)
def test_warnings_validate(warning: LimitWarning) -> None:
    check("warning", warning)
    assert decode_warning(encode(warning)) == warning


@given(LETTERS)
def test_dead_letters_validate(letter: DeadLetter) -> None:
    check("deadletter", letter)
    assert decode_dead_letter(encode(letter)) == letter


EVENT: Final = Event(
    id="0" * 16,
    at=Instant(1_000_000),
    kind="connect",
    client=Client("192.0.2.7"),
    address=Address("192.0.2.7"),
    session="mx/1",
    host="mx",
)


def test_what_no_client_did_fits_too() -> None:
    nobody: dict[str, Any] = {"client": Client("policy"), "address": Address("::")}
    check("event", msgspec.structs.replace(EVENT, kind="policy", detail="7 6 0123abcd", **nobody))
    nobody["client"] = Client("zen.spamhaus.org")
    trouble = LimitWarning(
        id="w",
        at=EVENT.at,
        rule="",
        evidence=Evidence(),
        policy="p",
        event="",
        host="",
        about="zone",
        text="zen.spamhaus.org does not answer",
        **nobody,
    )
    check("warning", trouble)


@pytest.mark.parametrize("field", ["code", "size", "ttl_s", "position"])
@pytest.mark.parametrize("beyond", [-1, 1])
def test_a_number_out_of_range_fits_neither_schema_nor_table(field: str, beyond: int) -> None:
    column = next(column for column in tables.EVENT_ROWS.columns if column.name == field)
    low, high = BOUNDS[column.type]
    event = msgspec.structs.replace(EVENT, **{field: low - 1 if beyond < 0 else high + 1})
    assert not validator("event").is_valid(json.loads(encode(event)))
    with pytest.raises(InvalidValueError, match=f"{field} is out of range"):
        tables.EVENT_ROWS.check([EVENT, event])


@pytest.mark.parametrize("at", ["2026-01-31T23:59:59Z", "2026-01-31T23:59:59.123456+00:00", "1769903999"])
def test_an_instant_written_otherwise_is_refused_by_the_schema(at: str) -> None:
    good = json.loads(encode(EVENT))
    assert validator("event").is_valid(good)
    assert not validator("event").is_valid({**good, "at": at})
