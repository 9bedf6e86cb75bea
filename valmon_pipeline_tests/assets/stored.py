"""Schemas to store epochs in, and what is in them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from valmon_pipeline.assets.asset_graph import FACT_TABLES, SCORE_TABLES
from valmon_pipeline.frames import contract_of
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.migrated_schema import make_migrated_schema

PROVENANCE = "fact_sources"
"""Which source gave a fact depends on what was at hand: neighbouring epochs, captured answers."""
EPOCH_TABLES = (
    *(table for table in (*FACT_TABLES, *SCORE_TABLES) if table != PROVENANCE),
    "check_results",
)
WRITTEN_AT = {"network_epochs": "materialized_at", "check_results": "at"}
"""The columns that tell when a row was written, the only ones that may differ."""


@contextmanager
def fresh_warehouse(database_url: str) -> Iterator[Warehouse]:
    """A warehouse in a schema of its own that is bound to no network yet."""
    schema = f"test_{uuid.uuid4().hex[:12]}"
    make_migrated_schema(database_url, schema)
    database = Database(database_url, schema)
    try:
        yield Warehouse(database)
    finally:
        database.close()
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


def table_hashes(warehouse: Warehouse) -> dict[str, str]:
    """A hash of all rows of each table by epoch, in key order, as PostgreSQL itself prints them."""
    hashes = {}
    with warehouse.database.transaction("hash tables") as connection:
        for table in EPOCH_TABLES:
            keys = ", ".join(contract_of(table).key)
            row = f"(to_jsonb(t) - '{WRITTEN_AT.get(table, '')}')::text"
            rows = f"md5(string_agg({row}, ' ' ORDER BY {keys}))"
            hashes[table] = connection.exec_driver_sql(
                f"SELECT count(*) || ' ' || coalesce({rows}, '') FROM {warehouse.schema}.{table} t"
            ).scalar_one()
    return hashes


def stored_epochs(warehouse: Warehouse) -> list[int]:
    """The epochs that ``network_epochs`` has."""
    epochs: list[int] = warehouse.read("network_epochs", columns=["epoch"])["epoch"].tolist()
    return epochs
