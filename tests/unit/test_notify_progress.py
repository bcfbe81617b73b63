"""Offsets: nothing is committed that was not delivered, and what was told is not told again."""

from streams.agents.notify.progress import MAX_AHEAD, Commit, Progress

WARNINGS = ("smtp.warnings", 0)
DECISIONS = ("smtp.decisions", 1)


def started() -> Progress:
    progress = Progress()
    progress.begins(WARNINGS, 10)
    progress.begins(DECISIONS, 0)
    return progress


def test_what_nobody_is_told_of_is_committed_at_once() -> None:
    progress = started()
    progress.read(WARNINGS, 10)
    assert progress.commits() == [Commit(WARNINGS, 11, "")]
    assert progress.commits() == []


def test_nothing_waiting_is_committed_until_it_is_delivered() -> None:
    progress = started()
    progress.hold("calm", WARNINGS, 10, "a")
    progress.read(WARNINGS, 10)
    progress.read(WARNINGS, 11)
    assert progress.commits() == []
    progress.sent(1, ["calm"])
    assert progress.commits() == []
    progress.delivered(1)
    assert progress.commits() == [Commit(WARNINGS, 12, "")]


def test_what_was_told_in_the_night_is_known_after_a_restart() -> None:
    progress = started()
    progress.hold("calm", WARNINGS, 10, "calm1")
    progress.hold("urgent", WARNINGS, 11, "zone1")
    progress.read(WARNINGS, 11)
    progress.sent(1, ["urgent"])
    progress.delivered(1)
    (commit,) = progress.commits()
    assert commit == Commit(WARNINGS, 10, "zone1")

    restarted = Progress()
    start, told = restarted.assigned(WARNINGS, commit.offset, commit.metadata)
    assert (start, told) == (10, ["zone1"])
    restarted.hold("calm", WARNINGS, 10, "calm1")
    restarted.read(WARNINGS, 11)  # zone1: known, so not held
    assert restarted.commits() == []
    restarted.sent(1, ["calm"])
    restarted.delivered(1)
    assert restarted.commits() == [Commit(WARNINGS, 12, "")]


def test_ids_ahead_are_bounded_and_fit_a_commit() -> None:
    progress = started()
    progress.hold("calm", WARNINGS, 10, "c" * 16)
    for offset in range(11, 5000):
        progress.hold("urgent", WARNINGS, offset, f"{offset:016x}")
        progress.read(WARNINGS, offset)
    progress.sent(1, ["urgent"])
    progress.delivered(1)
    (commit,) = progress.commits()
    assert len(commit.metadata) <= 4000
    assert commit.metadata.split(",")[-1] == f"{4999:016x}"
    assert len(commit.metadata.split(",")) == MAX_AHEAD


def test_messages_may_arrive_in_another_order() -> None:
    progress = started()
    for number, offset in ((1, 10), (2, 11)):
        progress.hold("calm", WARNINGS, offset, f"id{offset}")
        progress.read(WARNINGS, offset)
        progress.sent(number, ["calm"])
    progress.delivered(2)
    assert progress.commits() == [Commit(WARNINGS, 10, "id11")]
    progress.delivered(1)
    assert progress.commits() == [Commit(WARNINGS, 12, "")]


def test_a_failed_commit_is_made_again_and_a_lost_partition_is_left() -> None:
    progress = started()
    progress.read(WARNINGS, 10)
    assert progress.commits() == [Commit(WARNINGS, 11, "")]
    progress.failed(WARNINGS)
    assert progress.commits() == [Commit(WARNINGS, 11, "")]
    progress.revoked([WARNINGS])
    progress.failed(WARNINGS)
    progress.read(WARNINGS, 11)
    assert progress.commits() == []
    # another one went further meanwhile: never back
    progress.hold("calm", WARNINGS, 11, "x")
    assert progress.assigned(WARNINGS, 50, "") == (50, [])
    assert progress.commits() == []


def test_a_log_that_begins_anew_forgets_the_old_one() -> None:
    progress = started()
    progress.hold("calm", WARNINGS, 10, "x")
    progress.read(WARNINGS, 10)
    assert progress.begins(WARNINGS, 0) == Commit(WARNINGS, 0, "")
    progress.read(WARNINGS, 0)
    assert progress.commits() == [Commit(WARNINGS, 1, "")]
