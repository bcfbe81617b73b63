"""`sql/` for a cluster: every table replicated and distributed, nothing left behind."""

import re
from typing import Final

import pytest

from streams.audit.cluster import for_cluster
from streams.audit.migrations import Migration, MigrationError, read_migrations

STATEMENTS: Final = list(for_cluster(read_migrations(), cluster="guards-1", database="mail"))
TABLES: Final = {
    match[1]
    for migration in read_migrations()
    for statement in migration.statements
    if (match := re.match(r"CREATE TABLE IF NOT EXISTS (\w+)", statement))
} - {"event_lines"} | {"goaway_migrations"}


def created(name: str) -> str:
    [found] = [
        each for each in STATEMENTS if re.match(rf"CREATE TABLE IF NOT EXISTS {name} ON CLUSTER", each)
    ]
    return found


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_table_is_replicated_under_a_path_of_its_own_and_distributed(table: str) -> None:
    local, over_all = created(f"{table}_local"), created(table)
    assert re.search(
        rf"\nENGINE = Replicated\w*MergeTree\('/clickhouse/tables/\{{shard\}}/mail/{table}', '\{{replica\}}'",
        local,
    )
    assert "non_replicated" not in local
    assert re.search(r"\breplicated_deduplication_window = \d{4,}", local)
    by_client = "\n    client String" in local
    by = r"cityHash64\(client\)" if by_client else "0"
    assert re.search(rf"ENGINE = Distributed\('guards-1', 'mail', '{table}_local', {by}\)$", over_all)


def test_a_view_fills_a_shards_rollups_from_its_events() -> None:
    views = [each for each in STATEMENTS if each.startswith("CREATE MATERIALIZED VIEW")]
    assert {"clients_by_month_view", "traffic_by_minute_view", "refusals_view"} <= {
        each.split()[6] for each in views
    }
    [lines] = [each for each in views if " event_lines_view " in each]
    assert " ON CLUSTER 'guards-1' TO events AS\n" in lines
    assert "\n    FROM event_lines\n" in lines
    assert "ENGINE = Null\n" in created("event_lines")
    views.remove(lines)
    for view in views:
        assert re.match(
            r"CREATE MATERIALIZED VIEW IF NOT EXISTS (\w+)_view ON CLUSTER 'guards-1' TO \1_local AS", view
        )
        assert "\nFROM events_local\n" in view


def test_every_alteration_is_made_twice_and_a_distributed_table_has_no_codecs() -> None:
    altered = [each for each in STATEMENTS if each.startswith("ALTER TABLE") and "MODIFY QUERY" not in each]
    assert altered
    for local, over_all in zip(altered[::2], altered[1::2], strict=True):
        assert local.split()[2] == over_all.split()[2] + "_local"
        assert "CODEC" not in over_all
        assert re.findall(r"COLUMN IF (?:NOT )?EXISTS (\w+)", local) == re.findall(
            r"COLUMN IF (?:NOT )?EXISTS (\w+)", over_all
        )


def test_a_views_new_query_is_that_of_its_shard() -> None:
    changed = [each for each in STATEMENTS if "MODIFY QUERY" in each]
    assert len(changed) == 7
    for each in changed:
        assert re.match(r"ALTER TABLE \w+_view ON CLUSTER 'guards-1'\n    MODIFY QUERY\nSELECT\n", each)
        assert "\nFROM events_local\n" in each


def test_the_register_is_written_last() -> None:
    for migration in read_migrations():
        assert f"('{migration.name}', '{migration.checksum}', " in STATEMENTS[-1]
    assert all("ON CLUSTER 'guards-1'" in each for each in STATEMENTS[2:-1])


@pytest.mark.parametrize("name", ["", "a b", "a'", "1a", "a\n"])
def test_a_clusters_name_is_checked(name: str) -> None:
    with pytest.raises(MigrationError, match="is no name of a cluster"):
        list(for_cluster([], cluster=name, database="mail"))


def test_what_has_no_form_is_refused() -> None:
    with pytest.raises(MigrationError, match="no form for a cluster"):
        list(for_cluster([Migration("0001_a.sql", "DROP TABLE IF EXISTS a;\n")], cluster="a", database="b"))
