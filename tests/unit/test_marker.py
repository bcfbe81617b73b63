"""The marker of a policy change: what it says, and what is none."""

import ast

import msgspec
import pytest

from streams.model.marker import change_named, marked, marker
from tests.parts import ROOT

START = 1_678_748_400 * 1_000_000


def test_a_marker_is_no_clients_doing_and_its_id_is_derived() -> None:
    made = marker(3, 7, 6, "abcdef012345", START)
    assert (made.kind, made.detail, made.client, made.address) == (
        "policy",
        "7 6 abcdef012345",
        "policy",
        "::",
    )
    assert made == marker(3, 7, 6, "abcdef012345", START)
    assert len({made.id, marker(4, 7, 6, "a", START).id, marker(3, 8, 6, "a", START).id}) == 3
    assert marked(made) == 7
    assert change_named(made.detail) == (7, "abcdef012345")


@pytest.mark.parametrize("detail", ["7", "7 6"])
def test_a_marker_without_a_version_names_any(detail: str) -> None:
    assert change_named(detail) == (7, "")


@pytest.mark.parametrize("detail", ["", " 7", "-1 0 x", "x 1 2", "7.5", "٧ 6 x", "7,6", "9" * 5000])
def test_what_names_no_number_is_an_error(detail: str) -> None:
    made = msgspec.structs.replace(marker(0, 1, 0, "abcdef012345", START), detail=detail)
    with pytest.raises(ValueError):
        marked(made)


def test_markers_are_made_in_one_place() -> None:
    def makes_one(call: ast.Call) -> bool:
        kinds = [word.value for word in call.keywords if word.arg == "kind"]
        return any(isinstance(kind, ast.Constant) and kind.value == "policy" for kind in kinds)

    makers = [
        path.relative_to(ROOT / "streams").as_posix()
        for path in sorted((ROOT / "streams").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and makes_one(node)
    ]
    assert makers == ["model/marker.py"]
