"""What every stage on Faust has in common: the app's settings, and how it runs and ends."""

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import faust
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from faust.types.auth import SASLMechanism

from streams.agents.membership import client_id, end_former
from streams.agents.prompt import NoTables, PromptTransport
from streams.agents.watchdog import EXIT_CODE
from streams.config import KafkaSettings
from streams.errors import GoawayError

SESSION_TIMEOUT_S: Final = 8.0
"""Faust's own default is 60 s: a dead worker's partitions would stand still for a minute. Apache Kafka takes
no less than 6 s; on the embedded broker, joining takes half of it."""

_log = logging.getLogger(__name__)


def stamp_us(timestamp: float | None) -> int:
    """Faust's time of a record in microseconds, as `fold.record_us` has it: whole milliseconds."""
    return round(timestamp * 1000) * 1000 if timestamp else 1 << 62


def end_at_once(error: Exception) -> None:
    """End the process, so that the frame whose processing failed is processed again by the next one.

    Faust would restart the agent and go on with the frame after it.
    """
    if isinstance(error, GoawayError):
        _log.critical("%s", error)
    else:
        _log.critical("processing failed", exc_info=error)
    logging.shutdown()
    os._exit(EXIT_CODE)


def credentials(settings: KafkaSettings) -> Any:
    if settings.security == "PLAINTEXT":
        return None
    import ssl

    context = None
    if settings.security.endswith("SSL"):
        context = ssl.create_default_context(cafile=settings.ca or None)
    if settings.security == "SSL":
        return faust.SSLCredentials(context=context)
    return faust.SASLCredentials(
        username=settings.user,
        password=settings.password,
        ssl_context=context,
        mechanism=SASLMechanism(settings.mechanism),
    )


def make_app(
    settings: KafkaSettings,
    group: str,
    *,
    partitions: int,
    datadir: str,
    instance: str = "",
    session_timeout_s: float = SESSION_TIMEOUT_S,
    **own: Any,
) -> faust.App:
    """The group's app without its agents; `own` are settings of this stage alone.

    ARCHITECTURE.md has the reasons for each setting that is not Faust's default.
    """
    app = faust.App(
        group,
        broker=[f"kafka://{address}" for address in settings.bootstrap.split(",")],
        broker_credentials=credentials(settings),
        broker_client_id=client_id(instance),
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=session_timeout_s / 4,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        topic_partitions=partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
        datadir=datadir,
        TableManager=NoTables,
        key_serializer="raw",
        value_serializer="raw",
        **own,
    )
    app.transport = PromptTransport(app.conf.broker_consumer, app)
    return app


def raw_topic(app: faust.App, name: str) -> Any:
    """A topic whose keys and values are bytes."""
    return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


@contextmanager
def work_folder(settings: KafkaSettings, group: str, instance: str, *, name: str) -> Iterator[str]:
    """The folder that Faust works in; before that, the membership that a killed `instance` left is ended."""
    if instance:
        auth = credentials_to_aiokafka_auth(credentials(settings))
        end_former(settings, group, instance, **auth)
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    with TemporaryDirectory(prefix=f"goaway-{name}-") as folder:
        yield folder


def run_app(app: faust.App, datadir: str) -> None:
    """Run until SIGTERM or SIGINT. Faust ends the process: nothing after this call is reached."""
    _TidyWorker(
        app,
        loglevel=logging.getLevelName(logging.getLogger().level),
        quiet=True,
        redirect_stdouts=False,
        override_logging=False,
        workdir=Path(datadir),
    ).execute_from_commandline()


class _TidyWorker(faust.Worker):  # type: ignore[misc]
    """Faust ends the process without returning to its caller, so the work folder is removed here."""

    def on_worker_shutdown(self) -> None:
        super().on_worker_shutdown()
        if self.workdir is not None:
            shutil.rmtree(self.workdir, ignore_errors=True)
