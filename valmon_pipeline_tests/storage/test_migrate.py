"""Migrations, up and down, against the tables they claim to make."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from valmon_pipeline.alerting.kinds import Severity
from valmon_pipeline.alerting.life_cycle import Finding, opened
from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.alert_store import alert_transaction
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.tables import metadata_of
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.conftest import DEVNET
from valmon_pipeline_tests.migrated_schema import make_migrated_schema
from valmon_pipeline_tests.sample_frames import sample_frame

CATALOGUE = """
SELECT 'column', c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attnotnull THEN ' not null ' ELSE ' ' END
       || coalesce(col_description(c.oid, a.attnum), '')
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
 WHERE c.relnamespace = to_regnamespace(%(schema)s) AND a.attnum > 0 AND NOT a.attisdropped
   AND c.relkind IN ('r', 'p')
UNION ALL
SELECT 'constraint', c.relname || '.' || conname, pg_get_constraintdef(k.oid)
  FROM pg_constraint k JOIN pg_class c ON c.oid = conrelid
 WHERE c.relnamespace = to_regnamespace(%(schema)s)
UNION ALL
SELECT 'index', tablename || '.' || indexname, regexp_replace(indexdef, 'ON .* USING', 'USING')
  FROM pg_indexes WHERE schemaname = %(schema)s
UNION ALL
SELECT 'table', relname, relkind::text || ' ' || coalesce(pg_get_partkeydef(oid), '')
       || coalesce(obj_description(oid, 'pg_class'), '')
  FROM pg_class WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind IN ('r', 'p')
"""


def catalogue(url: str, schema: str) -> set[tuple[str, ...]]:
    """Everything PostgreSQL knows about a schema's tables, as text."""
    with psycopg.connect(url) as connection:
        rows: list[Any] = connection.execute(CATALOGUE, {"schema": schema}).fetchall()
    return {row for row in rows if migrate.VERSION_TABLE not in row[1]}


def test_migrated_tables_are_those_of_the_contracts(database_url: str, schema: str) -> None:
    migrate.upgrade(database_url, schema)
    migrated = catalogue(database_url, schema)
    migrate.downgrade(database_url, schema)
    database = Database(database_url, schema)
    with database.transaction("make the tables directly") as connection:
        metadata_of(schema).create_all(connection)
    database.close()
    assert migrated == catalogue(database_url, schema)


def test_a_schema_made_for_a_test_is_what_the_migrations_make(
    database_url: str, schema: str
) -> None:
    make_migrated_schema(database_url, schema)
    made = catalogue(database_url, schema)
    migrate.require_current(database_url, schema)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())
    migrate.upgrade(database_url, schema)
    assert made == catalogue(database_url, schema)


def test_alembic_finds_nothing_left_to_migrate(database_url: str, schema: str) -> None:
    migrate.upgrade(database_url, schema)
    database = Database(database_url, schema)
    with database.transaction("compare") as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == schema,
                "version_table": migrate.VERSION_TABLE,
                "version_table_schema": schema,
            },
        )
        assert compare_metadata(context, metadata_of(schema)) == []
    database.close()


def test_up_down_and_up_again(database_url: str, schema: str) -> None:
    assert migrate.current(database_url, schema) is None
    migrate.upgrade(database_url, schema)
    first = catalogue(database_url, schema)
    assert migrate.current(database_url, schema) == migrate.newest()
    migrate.downgrade(database_url, schema)
    assert migrate.current(database_url, schema) is None
    assert catalogue(database_url, schema) == set()
    migrate.upgrade(database_url, schema)
    assert catalogue(database_url, schema) == first


def test_duties_known_ahead_come_and_go_with_their_version(database_url: str, schema: str) -> None:
    scheduled = sample_frame("proposer_duties", 3).query("outcome == 'scheduled'")
    judged = sample_frame("proposer_duties", 3).query("outcome == 'proposed'")
    assert not scheduled.empty
    assert not judged.empty
    migrate.upgrade(database_url, schema)
    database = Database(database_url, schema)
    try:
        warehouse = Warehouse(database)
        warehouse.bind_network(DEVNET)
        warehouse.replace_epoch(3, {"proposer_duties": pd.concat([scheduled, judged])})
        migrate.downgrade(database_url, schema, "0001")
        with pytest.raises(StorageError, match="ck_proposer_duties_outcome"):
            warehouse.replace_rows({"proposer_duties": scheduled})
        migrate.upgrade(database_url, schema)
        assert len(warehouse.read("proposer_duties")) == len(judged)
        warehouse.replace_epoch(3, {"proposer_duties": scheduled})
    finally:
        database.close()


def test_rows_with_missing_facts_go_with_their_version_and_others_stay(
    database_url: str, schema: str
) -> None:
    tables = ("balance_ledger", "epoch_summaries", "network_epochs", "proposer_duties")
    frames = {table: sample_frame(table, 3) for table in tables}
    frames["network_epochs"]["missing_facts"] = np.array([2], dtype=np.int32)
    complete = sample_frame("network_epochs", 4).assign(missing_facts=np.array([0], np.int32))
    migrate.upgrade(database_url, schema)
    database = Database(database_url, schema)
    try:
        warehouse = Warehouse(database)
        warehouse.bind_network(DEVNET)
        warehouse.replace_epoch(3, frames)
        warehouse.replace_epoch(4, {"network_epochs": complete})
        migrate.downgrade(database_url, schema, "0018")
        migrate.upgrade(database_url, schema)
        assert warehouse.read("network_epochs")["epoch"].tolist() == [4]
        assert warehouse.read("network_epochs")["missing_facts"].tolist() == [0]
        ledger = frames["balance_ledger"]
        assert len(warehouse.read("balance_ledger")) == int(ledger["residual"].notna().sum())
        sums = warehouse.read("epoch_summaries")
        assert 0 < len(sums) < len(frames["epoch_summaries"])
        assert sums["rewards_known"].tolist() == sums["duties"].tolist()
        assert set(sums["ledger_unknown_rows"]) == {0}
    finally:
        database.close()


def test_the_validators_of_alerts_go_back_and_forth_with_their_version(
    database_url: str, schema: str
) -> None:
    migrate.upgrade(database_url, schema)
    database = Database(database_url, schema)
    try:
        with alert_transaction(database, "open", datetime(2026, 11, 26, tzinfo=UTC)) as transaction:
            for subject, indices in (
                ("validator:7", (7,)),
                ("operator:a", range(1005)),
                ("node", ()),
            ):
                finding = Finding(
                    *("slashing", Severity.WARNING, subject, (), tuple(indices)),
                    *(3, 3, None, "", 0),
                )
                transaction.store([opened(finding)])
        migrate.downgrade(database_url, schema, "0022")
        with database.transaction("read texts") as connection:
            texts = connection.exec_driver_sql(
                f'SELECT validator_indices FROM "{schema}".alerts ORDER BY alert_id'
            ).scalars()
            assert list(texts) == ["7", ",".join(map(str, range(1000))), ""]
        migrate.upgrade(database_url, schema)
        with alert_transaction(database, "read", datetime(2026, 11, 26, tzinfo=UTC)) as transaction:
            alerts = transaction.alerts(["slashing"])
        assert [alert.finding.validator_indices for alert in alerts] == [
            (7,),
            tuple(range(1000)),
            (),
        ]
    finally:
        database.close()


def test_migrating_twice_changes_nothing(database_url: str, schema: str) -> None:
    migrate.upgrade(database_url, schema)
    first = catalogue(database_url, schema)
    migrate.upgrade(database_url, schema)
    assert catalogue(database_url, schema) == first


def test_migrations_at_once_wait_for_each_other(database_url: str, schema: str) -> None:
    # Processes, as in production: Alembic keeps its context in a module.
    program = (
        "import sys; from valmon_pipeline.storage import migrate; migrate.upgrade(*sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, database_url, schema]
    migrating = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in migrating] == [0, 0, 0]
    assert migrate.current(database_url, schema) == migrate.newest()


def test_networks_have_schemas_and_versions_of_their_own(database_url: str, schema: str) -> None:
    other = f"{schema} Other-Net"
    migrate.upgrade(database_url, schema)
    migrate.upgrade(database_url, other)
    migrate.downgrade(database_url, other)
    assert migrate.current(database_url, schema) == migrate.newest()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f'DROP SCHEMA "{other}" CASCADE'.encode())


def test_an_old_schema_is_told_to_migrate(database_url: str, schema: str) -> None:
    with pytest.raises(StorageError, match=r"at version none, .* run `valmon migrate`"):
        migrate.require_current(database_url, schema)
    migrate.upgrade(database_url, schema)
    migrate.require_current(database_url, schema)


def test_a_failed_migration_changes_nothing(database_url: str, schema: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
        connection.execute(f"CREATE TABLE {schema}.check_results (a integer)".encode())
    before = catalogue(database_url, schema)
    with pytest.raises(StorageError, match="already exists"):
        migrate.upgrade(database_url, schema)
    assert catalogue(database_url, schema) == before


def test_metadata_are_made_once_per_schema() -> None:
    assert metadata_of("a") is metadata_of("a")
    assert isinstance(metadata_of("a").tables["a.blocks"].c.block_root.type, sa.LargeBinary)
