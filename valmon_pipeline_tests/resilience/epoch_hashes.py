"""What is visible of each epoch in each table, as one hash of the rows that PostgreSQL prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from valmon_pipeline.frames import contract_of
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.stored import EPOCH_TABLES, WRITTEN_AT

EPOCHS: Final = range(14, 26)
EpochHashes = Mapping[int, Mapping[str, str]]


def epoch_hashes(warehouse: Warehouse) -> EpochHashes:
    """By epoch and table; an epoch of which nothing is visible is missing.

    The version of the scores, which is entered with them, is left out: between the two steps the
    facts of an epoch are there, whole, and its scores are not yet.
    """
    hashes: dict[int, dict[str, str]] = {}
    with warehouse.database.transaction("hash epochs") as connection:
        for table in EPOCH_TABLES:
            if table == "check_results":
                continue  # of both steps
            keys = ", ".join(contract_of(table).key)
            row = f"(to_jsonb(t) - '{WRITTEN_AT.get(table, '')}' - 'formula_version')::text"
            rows = connection.exec_driver_sql(
                f"SELECT epoch, md5(string_agg({row}, ' ' ORDER BY {keys})) "
                f"FROM {warehouse.schema}.{table} t GROUP BY epoch"
            )
            for epoch, found in rows:
                hashes.setdefault(epoch, {})[table] = found
    return hashes
