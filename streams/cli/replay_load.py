"""`goaway replay --to-kafka`: feeds a pipeline from history."""

import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import Final

import click
from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from streams.agents.notify.watch import DECIDE_GROUP
from streams.cli.progress import shown
from streams.cli.reach import place_of
from streams.cli.replay_source import Asked
from streams.cli.tables import print_wrapped
from streams.cli.tune_history import readable_again
from streams.config import KafkaSettings
from streams.errors import GoawayError, UsageError
from streams.kafka import admin, events_partitions
from streams.model.policy import Policy
from streams.replay.counts import ReadCounts
from streams.replay.extent import Extent
from streams.replay.pump import Pump, Shift
from streams.status import read_status
from streams.topics import EVENTS

_FASTEST = 1e6
_STAGES: Final = ("worker", "shim", "sink")
"""Those by which what is sent has an effect."""
_TIMEOUT_S: Final = 3.0
_NOBODY: Final = frozenset((ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD, ConsumerGroupState.UNKNOWN))
_NO_GROUPS_YET: Final = frozenset(
    (
        KafkaError._TIMED_OUT,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.GROUP_ID_NOT_FOUND,
    )
)
"""What a Kafka that never had a group says of one, if anything."""


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


def feed(asked: Asked, speed: float | None, *, yes: bool) -> None:
    """Send the history, which is read twice; the counts go to standard error. Where a pipeline would take it
    for what happens now, only after a yes."""
    events_partitions(asked.settings.kafka)  # there is somewhere to send it to
    if not yes:
        _ask(asked)
    with readable_again(asked.files) as paths:
        _feed(replace(asked, paths=tuple(paths)), speed)


def _ask(asked: Asked) -> None:
    """Go on where nobody follows the topic, or somebody says yes; `GoawayError` where nobody can be asked."""
    kafka = asked.settings.kafka
    if not (who := _stages(asked) or _group(kafka)):
        return
    grave = f"{EVENTS} on Kafka at {kafka.bootstrap} is followed by {who}"
    follows = (
        "it decides about this history as if it happened now: clients in it can be refused from now on, and "
        "its events and decisions stay on record"
    )
    if not sys.stdin.isatty():
        raise GoawayError(
            f"{grave}, and {follows}; nobody is there to be asked, so nothing was sent",
            try_next="a Kafka that is for tests, or the same with --yes",
        )
    print_wrapped(f"{grave}.", colour="yellow")
    print_wrapped(f"{follows[0].upper()}{follows[1:]}.")
    if not click.confirm("Send it there?", default=False):
        click.echo("nothing was sent")
        raise click.exceptions.Exit(1)


def _stages(asked: Asked) -> str:
    """The stages that report in `--data` and are on the Kafka that is sent to; empty where none is."""
    place = None
    with suppress(OSError, ValueError):  # `reach` has passed over it too
        place = place_of(asked.data)
    if place is None or place.get("kafka") != asked.settings.kafka.bootstrap:
        return ""
    files = sorted((asked.data / "status").glob("*.json"))
    found = [it.stem for it in files if it.stem.partition("-")[0] in _STAGES and read_status(it)]
    return f"the goaway up on {asked.data} ({', '.join(found)})" if found else ""


def _group(kafka: KafkaSettings) -> str:
    """The workers, by their consumer group; empty where it has no members. The embedded broker goes on to
    say that it has some when they have ended."""
    client, deadline = admin(kafka), time.monotonic() + _TIMEOUT_S
    while True:
        try:
            state = _state(client)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if cause.code() == KafkaError.COORDINATOR_LOAD_IN_PROGRESS and time.monotonic() < deadline:
                time.sleep(0.1)  # as of a Kafka that has just begun
                continue
            return f"a worker, perhaps (group {DECIDE_GROUP} cannot be looked at: {cause.str()})"
        return "" if state in _NOBODY else f"a worker (group {DECIDE_GROUP})"


def _state(client: AdminClient) -> ConsumerGroupState:
    listed = client.list_consumer_groups(request_timeout=_TIMEOUT_S).result()
    if listed.errors:  # of some brokers, and the group may be one of theirs
        raise KafkaException(listed.errors[0])
    found = next((it.state for it in listed.valid if it.group_id == DECIDE_GROUP), None)
    return _described(client) if found is None else found  # the embedded broker lists none


def _described(client: AdminClient) -> ConsumerGroupState:
    described = client.describe_consumer_groups([DECIDE_GROUP], request_timeout=_TIMEOUT_S)
    try:
        state: ConsumerGroupState = described[DECIDE_GROUP].result().state
    except KafkaException as error:
        if error.args[0].code() in _NO_GROUPS_YET:
            return ConsumerGroupState.EMPTY
        raise
    return state


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
