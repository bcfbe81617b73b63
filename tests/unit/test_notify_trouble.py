"""When a group counts as not keeping up."""

from streams.agents.notify.trouble import Backlog, Toggle


def look(backlog: Backlog, *looks: tuple[float, int, int]) -> Backlog:
    for now, stands, end in looks:
        backlog.look({0: (stands, end)}, now)
    return backlog


def test_steady_traffic_with_some_records_always_waiting_is_well() -> None:
    backlog = Backlog(60)
    for second in range(0, 600, 5):
        backlog.look({0: (second * 10, second * 10 + 20 + second % 7)}, float(second))
        assert backlog.stuck_since is None
    assert backlog.waiting > 0


def test_records_that_wait_for_a_minute_are_trouble_until_they_are_read() -> None:
    backlog = Backlog(60)
    for second in range(0, 65, 5):
        backlog.look({0: (0, 0 if second < 5 else 3)}, float(second))
    assert backlog.stuck_since is None
    assert look(backlog, (65, 0, 3)).stuck_since == 5
    assert look(backlog, (70, 0, 3)).stuck_since == 5
    assert look(backlog, (75, 3, 3)).stuck_since is None


def test_a_backlog_that_shrinks_is_well_and_one_that_grows_is_not() -> None:
    shrinking, growing = Backlog(60), Backlog(60)
    for second in range(0, 300, 5):
        shrinking.look({0: (second * 1000, 1_000_000 + second * 10)}, float(second))
        growing.look({0: (second * 10, 1000 + second * 20)}, float(second))
        assert shrinking.stuck_since is None
    assert growing.stuck_since is not None


def test_one_partition_that_stands_still_is_trouble_though_others_flow() -> None:
    backlog = Backlog(60)
    for second in range(0, 130, 5):
        backlog.look({0: (7, 9 + second), 1: (second * 10, second * 10)}, float(second))
    assert backlog.stuck_since is not None


def test_what_was_seen_before_an_outage_does_not_count() -> None:
    backlog = look(Backlog(60), (0, 0, 5))
    backlog.forget()
    look(backlog, (1000, 0, 5), (1030, 0, 5))
    assert backlog.stuck_since is None


def test_a_toggle_speaks_once_a_turn() -> None:
    toggle = Toggle()
    assert toggle.turned("kafka", None) is None
    assert toggle.turned("kafka", 5.0) == (True, 5.0)
    assert toggle.turned("kafka", 5.0) is None
    assert toggle.turned("worker", None) is None
    assert toggle.turned("kafka", None) == (False, 5.0)
    assert toggle.turned("kafka", None) is None
