"""Whatever happens to a log and to its reader, in any order: no line is lost, and doubles are known."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.ship_logs import Reading, WrittenLog, expected, positions_grow

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 40), st.integers(0, 60)),
        st.tuples(st.just("steps"), st.integers(1, 12), st.just(0)),
        st.tuples(
            st.sampled_from(["rotate", "create", "copytruncate", "compress", "save", "kill", "complete"]),
            st.just(0),
            st.just(0),
        ),
    ),
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_no_line_lost_and_doubles_share_identity(steps: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = WrittenLog(Path(folder) / "mail.log")
        reading = Reading(log.path, Path(folder) / "state")
        log.write(1)
        reading.steps(2)
        for what, count, cut in steps:
            match what:
                case "write":
                    log.write(count, cut=cut)
                case "steps":
                    reading.steps(count)
                case "rotate" | "create":
                    log.rotate(create=what == "create")
                case "copytruncate":
                    log.copy_and_truncate()
                case "compress":
                    log.compress()
                case "save":
                    reading.save()
                case "kill":
                    reading.kill()
                case _:
                    log.complete()
        log.complete()
        log.write(1)
        reading.to_the_end()

        assert reading.ids() == set(expected(log.lines))
        for life in reading.frames:
            positions_grow(life)
        identity: dict[str, tuple[str, int]] = {}
        for event in reading.events():
            assert identity.setdefault(event.id, (event.source, event.position)) == (
                event.source,
                event.position,
            )
