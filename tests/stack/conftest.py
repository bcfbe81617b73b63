"""Fixtures of the stack tests; `brokers.py` and `sink_process.py` say what they are."""

from tests.stack.brokers import broker, own_broker, own_partitions, running_broker, secure_broker, topic
from tests.stack.sink_process import engine, own_store, store

__all__ = [
    "broker",
    "engine",
    "own_broker",
    "own_partitions",
    "own_store",
    "running_broker",
    "secure_broker",
    "store",
    "topic",
]
