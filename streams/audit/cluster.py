"""The tables of `sql/` for a cluster: replicated, sharded by client, generated from the same files.

Each table becomes two: `events_local`, which is replicated and holds a shard's rows, and `events`, which is
`Distributed` over all shards. Views fill the local rollups from the local events, so a client's rows and its
rollups lie on one shard. `event_lines`, which keeps nothing, is the same on every server and fills `events`.
Nothing here talks to a server.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from streams.audit.migrations import REGISTER, Migration, MigrationError

_CLUSTER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}\Z")
_CREATE_TABLE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)\n")
_CREATE_VIEW: Final = re.compile(r"CREATE VIEW IF NOT EXISTS (\w+) AS\n")
_CREATE_FILLER: Final = re.compile(r"CREATE MATERIALIZED VIEW IF NOT EXISTS (\w+) TO (\w+) AS\n")
_MODIFY_VIEW: Final = re.compile(r"ALTER TABLE (\w+_view)\n    MODIFY QUERY\n")
_ALTER: Final = re.compile(r"ALTER TABLE (\w+)\n")
_ENGINE: Final = re.compile(r"^ENGINE = (\w*MergeTree)(\((\w*)\))?$", re.MULTILINE)
_WINDOW: Final = re.compile(r"\bnon_replicated_deduplication_window = (\d+)")
_WINDOW_S: Final = 7 * 86_400
"""A token is remembered at least as long as Kafka keeps the records of its insert."""


def for_cluster(migrations: Sequence[Migration], *, cluster: str, database: str) -> Iterator[str]:
    """Every statement in order, for a server of the cluster that has the macros `shard` and `replica`.

    The last ones write the register, so that `goaway db status` says what is there. `MigrationError` for a
    cluster's name that is none, and for a statement that has no form for a cluster yet.
    """
    if not _CLUSTER.match(cluster):
        raise MigrationError(
            f"{cluster[:80]!r} is no name of a cluster", try_next="SELECT * FROM system.clusters"
        )
    on = f"ON CLUSTER '{cluster}'"
    yield f"CREATE DATABASE IF NOT EXISTS `{database}` {on}"
    yield f"USE `{database}`"
    yield from _table(REGISTER.strip(), "goaway_migrations", cluster, database)
    for migration in migrations:
        for statement in migration.statements:
            yield from _statements(statement, migration.name, cluster, database)
    rows = ", ".join(f"('{one.name}', '{one.checksum}', now64(6))" for one in migrations)
    at_once = "SETTINGS distributed_foreground_insert = 1"
    yield f"INSERT INTO goaway_migrations (name, checksum, applied) {at_once} VALUES {rows}"  # noqa: S608


def _statements(statement: str, file: str, cluster: str, database: str) -> Iterator[str]:
    on = f"ON CLUSTER '{cluster}'"
    if (match := _CREATE_TABLE.match(statement)) and "\nENGINE = Null\n" in statement:
        yield f"CREATE TABLE IF NOT EXISTS {match[1]} {on}\n{statement[match.end() :]}"
    elif match:
        yield from _table(statement, match[1], cluster, database)
    elif match := _MODIFY_VIEW.match(statement):
        yield f"ALTER TABLE {match[1]} {on}\n    MODIFY QUERY\n{_of_shard(statement[match.end() :])}"
    elif match := _ALTER.match(statement):
        rest = statement[match.end() :]
        yield f"ALTER TABLE {match[1]}_local {on}\n{rest}"
        # a Distributed table has no codecs
        yield f"ALTER TABLE {match[1]} {on}\n" + re.sub(r" CODEC\(.+\)(?= AFTER )", "", rest)
    elif match := _CREATE_FILLER.match(statement):
        query, of_shard = statement[match.end() :], "_local"
        if query.endswith("FROM event_lines\n)"):
            of_shard = ""
        else:
            query = _of_shard(query)
        yield f"CREATE MATERIALIZED VIEW IF NOT EXISTS {match[1]} {on} TO {match[2]}{of_shard} AS\n{query}"
    elif match := _CREATE_VIEW.match(statement):
        yield f"CREATE VIEW IF NOT EXISTS {match[1]} {on} AS\n{statement[match.end() :]}"
    else:
        raise MigrationError(f"sql/{file}: no form for a cluster: {statement[:80]}")


def _of_shard(query: str) -> str:
    return re.sub(r"^FROM (\w+)$", r"FROM \1_local", query, flags=re.MULTILINE)


def _table(statement: str, name: str, cluster: str, database: str) -> Iterator[str]:
    local = re.sub(
        r"^CREATE TABLE IF NOT EXISTS \w+\n",
        f"CREATE TABLE IF NOT EXISTS {name}_local ON CLUSTER '{cluster}'\n",
        statement,
    )
    path = f"'/clickhouse/tables/{{shard}}/{database}/{name}', '{{replica}}'"
    local = _ENGINE.sub(
        lambda found: f"ENGINE = Replicated{found[1]}({path}{', ' + found[3] if found[3] else ''})", local
    )
    local = _WINDOW.sub(
        rf"replicated_deduplication_window = \1, replicated_deduplication_window_seconds = {_WINDOW_S}", local
    )
    yield local
    # what belongs to no client lies on one shard, where its order and its tokens are one
    by = "cityHash64(client)" if re.search(r"^    client ", statement, re.MULTILINE) else "0"
    yield (
        f"CREATE TABLE IF NOT EXISTS {name} ON CLUSTER '{cluster}' AS {name}_local\n"
        f"ENGINE = Distributed('{cluster}', '{database}', '{name}_local', {by})"
    )
