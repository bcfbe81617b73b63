"""What the table holds, in which order, and that it does not grow without end."""

from msgspec.structs import replace

from streams.model.client import Client
from streams.shim.table import FOREVER, DecisionTable
from tests.policy_cases import decision


def _held(table: DecisionTable, client: str = "192.0.2.1") -> list[tuple[str, int, bool]]:
    return [(it.trigger, it.ends, it.refuses) for it in table.of(Client(client))]


def test_triggers_are_held_in_order_of_precedence() -> None:
    table = DecisionTable()
    for trigger in ("protocol", "greylist", "rate", "reputation"):
        table.apply(decision(trigger, "192.0.2.1", 1, 50), 1)
    assert [row[0] for row in _held(table)] == ["rate", "reputation", "greylist", "protocol"]
    assert len(table) == 4


def test_a_decision_without_an_end_stands_until_it_is_released() -> None:
    table = DecisionTable()
    table.apply(decision("rate", "192.0.2.1", 1, None), 1)
    table.purge(2**60)
    assert _held(table) == [("rate", FOREVER, True)]
    table.apply(decision("rate", "192.0.2.1", 2, None, action="release"), 2)
    assert [row[2] for row in _held(table)] == [False]


def test_a_release_of_nothing_leaves_nothing() -> None:
    table = DecisionTable()
    table.apply(decision("rate", "192.0.2.1", 2, None, action="release"), 2)
    assert len(table) == 0


def test_a_decision_that_ended_before_it_was_read_ends_the_one_before() -> None:
    table = DecisionTable()
    table.apply(decision("rate", "192.0.2.1", 1, 100), 1)
    table.apply(decision("rate", "192.0.2.1", 2, 10), 50)
    assert _held(table) == []
    assert len(table) == 0


def test_purge_forgets_what_ended_and_nothing_else() -> None:
    table = DecisionTable()
    table.apply(decision("rate", "192.0.2.1", 1, 10), 1)
    table.apply(decision("protocol", "192.0.2.1", 1, 30), 1)
    table.apply(decision("rate", "192.0.2.2", 1, 20), 1)
    table.apply(decision("rate", "192.0.2.2", 2, 40), 1)
    table.purge(10)
    assert _held(table) == [("protocol", 30, True)]
    table.purge(39)
    assert _held(table) == []
    assert _held(table, "192.0.2.2") == [("rate", 40, True)]
    table.purge(40)
    assert len(table) == 0


def test_a_full_table_lets_go_of_what_ends_first() -> None:
    table = DecisionTable(capacity=3)
    for number in (30, 10, 20, 40, 50):
        table.apply(decision("rate", f"192.0.2.{number}", 1, number), 1)
    assert len(table) == 3
    assert [bool(_held(table, f"192.0.2.{number}")) for number in (10, 20, 30, 40, 50)] == [
        False, False, True, True, True,
    ]  # fmt: skip


def test_replacing_one_decision_for_ever_takes_no_more_memory() -> None:
    table = DecisionTable()
    for at in range(10_000):
        table.apply(decision("rate", "192.0.2.1", at, at + 1_000_000), at)
    assert len(table) == 1
    assert len(table._ending) < 2_000


def test_of_equal_instants_the_last_to_arrive_holds() -> None:
    table = DecisionTable()
    first, second = (decision("rate", "192.0.2.1", 5, 50, reason) for reason in ("first", "second"))
    table.apply(first, 5)
    table.apply(second, 5)
    assert [it.reason for it in table.of(Client("192.0.2.1"))] == ["second"]


def test_what_is_in_shadow_or_lets_through_is_held_and_refuses_nobody() -> None:
    table = DecisionTable()
    table.apply(replace(decision("rate", "192.0.2.1", 1, 50), shadow=True), 1)
    table.apply(decision("reputation", "192.0.2.1", 1, 50, action="pass"), 1)
    assert _held(table) == [("rate", 50, False), ("reputation", 50, False)]
    assert table.known(Client("192.0.2.1"), "reputation", 49)
    assert not table.known(Client("192.0.2.1"), "reputation", 50)
    assert not table.known(Client("192.0.2.1"), "greylist", 1)


def test_a_later_pass_ends_a_block_and_a_first_attempt_does_not() -> None:
    table = DecisionTable()
    table.apply(decision("greylist", "192.0.2.1", 1, 50), 1)
    table.apply(replace(decision("greylist", "192.0.2.1", 2, 60, action="defer"), triplet="a:b"), 2)
    assert _held(table) == [("greylist", 50, True)]
    table.apply(decision("greylist", "192.0.2.1", 3, 60, action="pass"), 3)
    assert _held(table) == [("greylist", 60, False)]
