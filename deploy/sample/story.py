"""The twenty minutes of the recorded sample: what happens, and at which second."""

from collections.abc import Callable, Iterator
from functools import partial

from deploy.sample.journal import Journal
from deploy.sample.people import HONEST, Stage
from tests.e2e.smtp_client import SmtpClient

Action = Callable[[], object]

_MINUTES = 20
_BURST = 48
_HELD = 15


def tell(stage: Stage, journal: Journal) -> None:
    """Play everything in order; between two scenes the journal's clock skips the waiting."""
    for at_s, action in sorted(_scenes(stage), key=lambda scene: scene[0]):
        if (ahead := at_s - journal.elapsed_s) > 0:
            journal.skip(ahead)
        action()
    journal.settle()


def _scenes(stage: Stage) -> Iterator[tuple[float, Action]]:
    yield from ((60 * minute + 3.0, stage.probe) for minute in range(_MINUTES))
    yield from _honest(stage)
    yield from _signed_in(stage)
    yield from ((242.0 + 0.1 * number, stage.flood) for number in range(_BURST))
    # Slowly first, under every limit; then faster than a connection every two seconds.
    yield from ((305.0 + 8.5 * number, partial(stage.scan, number)) for number in range(40))
    yield from ((700.0 + 1.3 * number, partial(stage.scan, 40 + number)) for number in range(60))
    yield from _holding(stage)
    yield from (
        (94.0, stage.no_helo),
        (381.0, stage.pipeline),
        (171.0, stage.web_probe),
        (562.0, stage.pregreet),
        (590.0, stage.screened),
        (905.0, stage.screened),
    )


def _honest(stage: Stage) -> Iterator[tuple[float, Action]]:
    """Each comes a few times, with gaps that no machine keeps; nobody twice within a minute."""
    readers = (["anna"], ["ben", "clara"], ["sales"], ["office", "anna", "ben"])
    for number, source in enumerate(HONEST):
        for visit, gap_s in enumerate((31, 217, 389, 601, 823, 1033)):
            at_s = gap_s + 17.3 * number + 5.1 * visit
            play = partial(
                stage.honest,
                source,
                readers[(number + visit) % len(readers)],
                tls=number % 3 == 0,
                messages=1 + (number + visit) % 2,
            )
            yield at_s, play


def _signed_in(stage: Stage) -> Iterator[tuple[float, Action]]:
    yield from ((at_s, partial(stage.customer, smtps=at_s > 500)) for at_s in (128.0, 447.0, 770.0, 1109.0))
    yield from ((at_s, stage.guess_password) for at_s in (210.0, 232.0, 268.0, 301.0, 344.0))


def _holding(stage: Stage) -> Iterator[tuple[float, Action]]:
    held: list[SmtpClient] = []
    yield from ((480.0 + 0.7 * number, lambda: held.append(stage.hold())) for number in range(_HELD))
    yield from ((655.0 + 0.4 * number, lambda: held.pop(0).close()) for number in range(_HELD))
