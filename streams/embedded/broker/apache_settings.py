"""What a single Apache Kafka node is told: `server.properties` and its log settings, as text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams.embedded.broker.process import LOOPBACK

LOG_FILES: Final = 3
LOG_MB: Final = 10


@dataclass(frozen=True, slots=True)
class SecureListener:
    """The listener with TLS and SCRAM; the password opens the key store."""

    port: int
    keystore: Path
    keystore_password: str


def server_properties(
    *, records: Path, port: int, controller_port: int, secure: SecureListener | None
) -> str:
    """Settings of one node that is broker and controller; every listener on loopback."""
    listeners = {"PLAIN": port, "CONTROLLER": controller_port} | ({"SECURE": secure.port} if secure else {})
    protocols = "PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT" + (",SECURE:SASL_SSL" if secure else "")
    rows = {
        "process.roles": "broker,controller",
        "node.id": "1",
        # a static voter: its port may be another one at the next start
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": _addresses(listeners),
        "advertised.listeners": _addresses({k: v for k, v in listeners.items() if k != "CONTROLLER"}),
        "listener.security.protocol.map": protocols,
        "inter.broker.listener.name": "PLAIN",
        "log.dirs": str(records),
        "auto.create.topics.enable": "false",
        # one node: every internal topic has one copy, and no more partitions than it needs
        "default.replication.factor": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        # nobody else is about to join
        "group.initial.rebalance.delay.ms": "0",
        # after a kill the node is not let in again until its former self counts as gone; the default is 9 s
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # the default, 128 MB, is a quarter of the heap
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    }
    if secure:
        rows |= {
            "sasl.enabled.mechanisms": "SCRAM-SHA-256",
            "listener.name.secure.scram-sha-256.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "listener.name.secure.ssl.keystore.type": "PKCS12",
            "listener.name.secure.ssl.keystore.location": str(secure.keystore),
            "listener.name.secure.ssl.keystore.password": secure.keystore_password,
        }
    return "".join(f"{name}={_escaped(value)}\n" for name, value in rows.items())


def log_properties(log: Path) -> str:
    """log4j 2 settings: one file, rolled at `LOG_MB`, `LOG_FILES` old ones kept."""
    rows = {
        "appender.file.type": "RollingFile",
        "appender.file.name": "file",
        "appender.file.fileName": str(log),
        "appender.file.filePattern": f"{log}.%i",
        "appender.file.layout.type": "PatternLayout",
        "appender.file.layout.pattern": "%d %p %m (%c)%n",
        "appender.file.policies.type": "SizeBasedTriggeringPolicy",
        "appender.file.policies.size": f"{LOG_MB}MB",
        "appender.file.strategy.type": "DefaultRolloverStrategy",
        "appender.file.strategy.max": str(LOG_FILES),
        "rootLogger.level": "info",
        "rootLogger.appenderRef.file.ref": "file",
    }
    return "".join(f"{name}={_escaped(value)}\n" for name, value in rows.items())


def _addresses(listeners: dict[str, int]) -> str:
    return ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in listeners.items())


def _escaped(value: str) -> str:
    """Java's properties format: a backslash starts an escape; what is not ASCII is given as UTF-16 units."""
    return "".join(c if c.isascii() else _units(c) for c in value.replace("\\", "\\\\"))


def _units(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
