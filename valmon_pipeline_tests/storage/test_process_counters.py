"""Counters of several processes in one table."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.process_counters import CountStore, stored_counts
from valmon_pipeline.telemetry import ProcessCounts


def test_processes_that_add_at_once_lose_nothing(database: Database) -> None:
    def run(number: int) -> None:
        counts = ProcessCounts()
        store = CountStore(counts)
        for _ in range(10):
            for table in ("blocks", "attestation_duties", f"table {number}"):
                counts.wrote(table, 3, 0.25)
            store.store(lambda: database)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    with database.transaction("look") as connection:
        stored = stored_counts(connection, database.schema)
    assert stored["valmon_table_written_rows_total", '{"table":"blocks"}'] == 120
    assert stored["valmon_table_written_rows_total", '{"table":"table 2"}'] == 30
    assert stored["valmon_table_write_seconds_total", '{"table":"blocks"}'] == 10.0


def test_counts_wait_for_a_database_that_is_away(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    counts = ProcessCounts()
    store = CountStore(counts)
    counts.wrote("blocks", 8, 0.5)
    away = Database("postgresql://valmon:hunter2@127.0.0.1:9/valmon", database.schema)
    with caplog.at_level(logging.WARNING):
        store.store(lambda: away)
    assert "could not add to the counters" in caplog.text
    assert "hunter2" not in caplog.text
    store.store(lambda: database, if_due=True)
    with database.transaction("look") as connection:
        assert stored_counts(connection, database.schema) == {}
    store.store(lambda: database)
    with database.transaction("look") as connection:
        stored = stored_counts(connection, database.schema)
    assert stored["valmon_table_written_rows_total", '{"table":"blocks"}'] == 8
