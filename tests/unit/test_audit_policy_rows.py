"""Records of `smtp.policy` as rows: entries as they were written, commits as columns, else a dead letter."""

from dataclasses import fields
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.audit.policy_rows import PolicyRow, policy_row
from streams.audit.rows import Record, TopicRows
from streams.audit.tables import POLICY_ROWS
from streams.model.instant import Instant, parse_instant
from streams.topics import POLICY
from streams.wire.policy_log import Change, encode_number

TAKEN: Final = parse_instant("2026-02-01T00:00:01Z")
COMMIT: Final = (
    b'{"number":7,"after":6,"version":"0123abcd","who":"anna","at":"2026-01-31T23:59:59.999999Z",'
    b'"what":"exempt rate 203.0.113.7","note":"B\xc3\xbcro","entries":1}'
)


def gathered(key: bytes | None, value: bytes | None, change: bytes | None) -> TopicRows:
    rows = TopicRows(POLICY)
    rows.add(Record(POLICY, 0, 3, TAKEN, value, key, change))
    return rows


def test_a_change_is_its_entries_and_its_commit() -> None:
    rows = TopicRows(POLICY)
    for offset, (key, value) in enumerate(
        [(b"limits", b'{ "n": 1 }'), (b"networks/192.0.2.0/24", None), (b"change", COMMIT)]
    ):
        rows.add(Record(POLICY, 0, offset, TAKEN, value, key, b"7"))
    assert not rows.letters
    assert rows.rows is not None
    columns = dict(zip(rows.rows.table.names, rows.rows.columns(2), strict=True))
    assert columns["key"] == ["limits", "networks/192.0.2.0/24", "change"]
    assert columns["entry"] == ['{ "n": 1 }', "", ""]
    assert columns["deleted"] == [False, True, False]
    assert columns["change"] == [7, 7, 7]
    assert columns["at"] == [TAKEN, TAKEN, parse_instant("2026-01-31T23:59:59.999999Z")]
    assert columns["after"] == [0, 0, 6]
    assert columns["entries"] == [0, 0, 1]
    for name, text in {"version": "0123abcd", "who": "anna", "note": "Büro"}.items():
        assert columns[name] == ["", "", text], name
    assert columns["kafka_offset"] == [0, 1, 2]


NONE: Final = "no row"


@pytest.mark.parametrize(
    ("key", "value", "change", "reason", "row"),
    [
        (None, b"{}", b"7", "no key", ""),
        (b"", None, b"7", "no key", ""),
        (b"\xff", b"{}", b"7", "no key", "\ufffd"),
        (b"limits", b"", b"7", "limits", "limits"),
        (b"limits", b"[1]", b"7", "limits", "limits"),
        (b"limits", b'{"a":"\xff"}', b"7", "limits", "limits"),
        (b"limits", b'{"a":"\\ud800"}', b"7", "limits", "limits"),
        (b"limits", b"[" * 100_000, b"7", "limits", "limits"),
        (b"limits", b"{}", None, "which change", NONE),
        (b"limits", b"{}", b"-7", "which change", NONE),
        (b"limits", b"{}", "٧".encode(), "which change", NONE),
        (b"limits", b"{}", b"9" * 5000, "which change", NONE),
        (b"limits", None, None, "which change", NONE),
        (b"change", None, b"7", "commit", NONE),
        (b"change", b"{}", b"7", "commit", NONE),
        (b"change", COMMIT.replace(b'"after":6', b'"after":-1'), b"7", "commit", NONE),
        (b"change", COMMIT.replace(b"2026-01", b"3026-01"), b"7", "at is out of range", NONE),
    ],
)
def test_what_is_no_record_of_a_change_is_a_letter(
    key: bytes | None, value: bytes | None, change: bytes | None, reason: str, row: str
) -> None:
    found = gathered(key, value, change)
    assert found.rows is not None
    # what spoils its change has a row, as readers of the log see it too
    assert found.rows.column("key") == ([] if row == NONE else [row])
    assert not any([*found.rows.column("entry"), *found.rows.column("deleted")])
    assert len(found.letters) == 1
    [(_, source, position, said, text, _)] = found.letters.made_of
    assert (source, position) == (f"{POLICY}/0", 3)
    assert reason in said
    assert msgspec.json.decode(msgspec.json.encode([said, text]))
    assert text == repr((value or key or b"")[:4096])[2:-1][:4096]
    assert found.letters.columns(1)


BYTES: Final = st.none() | st.binary(max_size=30)


@given(BYTES, BYTES, BYTES | st.integers(1, 99).map(encode_number))
def test_whatever_comes_is_kept_and_twice_the_same(
    key: bytes | None, value: bytes | None, change: bytes | None
) -> None:
    first, second = gathered(key, value, change), gathered(key, value, change)
    assert 1 <= len(first) <= 2
    assert first.letters.made_of == second.letters.made_of
    assert first.rows is not None and second.rows is not None
    assert first.rows.made_of == second.rows.made_of


@given(st.text(min_size=1, max_size=20).filter(lambda key: key != "change"), st.integers(1, 2**53 - 1))
def test_an_entry_of_any_name_fits(key: str, number: int) -> None:
    row, trouble = policy_row(key.encode(), b"{}", encode_number(number), taken_at=TAKEN)
    assert row is not None
    assert not trouble
    POLICY_ROWS.check([row])
    assert (row.key, row.change, row.entry, row.at) == (key, number, "{}", Instant(TAKEN))


def test_a_commit_says_its_own_number() -> None:
    row, _ = policy_row(b"change", COMMIT, None, taken_at=TAKEN)
    assert row is not None
    assert row.change == 7


def test_every_field_of_a_change_is_a_column() -> None:
    """`entry` and `deleted` are an entry's own; a change's number is `change`."""
    commits = {"change" if field == "number" else field for field in Change.__struct_fields__}
    assert {column.name for column in POLICY_ROWS.columns} == commits | {"key", "entry", "deleted"}
    assert [column.field for column in POLICY_ROWS.columns] == [each.name for each in fields(PolicyRow)]
