"""The group membership that a killed worker left behind.

Kafka gives a dead worker's partitions away when its session times out. A worker started again under the same
name ends that membership itself, so it waits for nobody. (Static membership would do so too on Apache Kafka;
on the embedded broker it takes 7 s to join with it.)
"""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import LeaveGroupRequest

from streams.config import KafkaSettings

_log = logging.getLogger(__name__)


def client_id(instance: str) -> str:
    """The Kafka client id of the worker with this name; a member's id starts with it."""
    return f"goaway-worker-{instance}." if instance else "goaway-worker"


def end_former(settings: KafkaSettings, group: str, instance: str, **auth: Any) -> int:
    """End the memberships of workers of this name in the group; how many there were.

    `auth` is aiokafka's. A Kafka that cannot do it is no error: the session timeout does it later.
    """
    try:
        return asyncio.run(_end_former(settings, group, client_id(instance), auth))
    except (KafkaError, OSError, TimeoutError) as error:
        _log.warning(
            "a former worker %s may keep its partitions for a while (%s)", instance, type(error).__name__
        )
        return 0


async def _end_former(settings: KafkaSettings, group: str, client: str, auth: dict[str, Any]) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap.split(","), client_id=client, **auth)
    ended = 0
    try:
        await admin.start()
        for member in _members(await admin.describe_consumer_groups([group])):
            if member.startswith(f"{client}-"):
                coordinator = await admin.find_coordinator(group)
                await admin._send_request(LeaveGroupRequest(group, member), coordinator)
                ended += 1
    finally:
        await admin.close()
    return ended


def _members(answers: list[Any]) -> Iterator[str]:
    for answer in answers:
        for group in answer.to_object()["groups"]:
            for member in group["members"]:
                yield member["member_id"]
