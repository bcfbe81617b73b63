"""`goaway replay --to-kafka`: feeds a pipeline from history."""

import time
from dataclasses import replace

import click

from streams.cli.progress import shown
from streams.cli.replay_source import Asked
from streams.cli.tune_history import readable_again
from streams.errors import UsageError
from streams.model.policy import Policy
from streams.replay.counts import ReadCounts
from streams.replay.extent import Extent
from streams.replay.pump import Pump, Shift

_FASTEST = 1e6


def speed_of(text: str) -> float | None:
    """A number, or None for `max`."""
    if text == "max":
        return None
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= _FASTEST:
        raise UsageError(
            f"--speed: {text[:32]!r} is no speed", try_next="--speed 1, --speed 10 or --speed max"
        )
    return found


def feed(asked: Asked, speed: float | None) -> None:
    """Send the history, which is read twice; the counts go to standard error."""
    with readable_again(asked.files) as paths:
        _feed(replace(asked, paths=tuple(paths)), speed)


def _feed(asked: Asked, speed: float | None) -> None:
    policy = asked.policy()
    pump = Pump(asked.settings.kafka)
    now = time.time_ns() // 1000
    if speed is None:
        first, last = _ends(asked, policy)
        shift = Shift(first, now - (last - first), run=str(now))
    else:
        shift = Shift(_first(asked, policy), now, speed, run=str(now))
    asked.counts, asked.extent = ReadCounts(), Extent()
    with shown(asked, "to Kafka"):
        batches = asked.batches(policy, check_clients=False)
        done = pump.run(batches, shift, paced=speed is not None)
    if not done.events:
        raise asked.nothing()
    rate = done.events / done.seconds if done.seconds else 0
    click.echo(
        f"sent {done.events} events in {done.frames} frames, {done.seconds:.1f} s, {rate:,.0f}/s, "
        f"at worst {done.behind_s:.2f} s behind its pace",
        err=True,
    )
    asked.say_doubt()


def _first(asked: Asked, policy: Policy) -> int:
    looked = replace(asked, counts=ReadCounts(), extent=Extent())
    batches = looked.batches(policy, check_clients=False)
    return next((it.items[0].at for it in batches if it.items), 0)


def _ends(asked: Asked, policy: Policy) -> tuple[int, int]:
    looked = replace(asked, counts=ReadCounts(), extent=Extent())
    first = last = 0
    with shown(looked, "look for the end"):
        for batch in looked.batches(policy, check_clients=False):
            if batch.items:
                first = first or batch.items[0].at
                last = max(last, *(it.at for it in batch.items))
    return first, last
