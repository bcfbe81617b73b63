"""Fixtures of the stack tests; `brokers.py` says what they are."""

from tests.stack.brokers import broker, running_broker, secure_broker, topic

__all__ = ["broker", "running_broker", "secure_broker", "topic"]
