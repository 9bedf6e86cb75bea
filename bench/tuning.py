"""What PostgreSQL's settings do to storing epochs: time, WAL and leftovers, one setting at a time.

    python -m bench.tuning [--validators 1000] [--epochs 40]

The facts of an epoch (see ``bench.scores``) are stored as many epochs, then all of them once more,
as when provisional epochs become final: that leaves dead rows. Each setting has a new embedded
server. The frames are made beforehand. No figure has a target; read them against the first line.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pandas as pd

from bench.scores import SCHEMA, SLOTS_PER_EPOCH, SPAN, recorded_frames, repeated
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.warehouse import Warehouse

SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "as it comes": {},
    "synchronous_commit off": {"synchronous_commit": "off"},
    "wal_compression pglz": {"wal_compression": "pglz"},
    "max_wal_size 64MB": {"max_wal_size": "64MB"},
    "max_wal_size 4GB": {"max_wal_size": "4GB"},
    "checkpoint_timeout 30s": {"checkpoint_timeout": "30s"},
    "shared_buffers 512MB": {"shared_buffers": "512MB"},
    "autovacuum off": {"autovacuum": "off"},
    "autovacuum eager": {
        "autovacuum_naptime": "1s",
        "autovacuum_vacuum_scale_factor": "0.01",
        "autovacuum_vacuum_cost_delay": "0",
    },
}
POOLS: Final = (1, 2, 4)
Epochs = Sequence[tuple[int, Mapping[str, pd.DataFrame]]]


def store(warehouse: Warehouse, epochs: Epochs, writers: int) -> float:
    """Store all epochs, ``writers`` at a time; seconds."""
    started = time.perf_counter()
    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(lambda each: warehouse.replace_epoch(*each), epochs))
    return time.perf_counter() - started


def measure(name: str, settings: Mapping[str, str], epochs: Epochs, writers: int = 1) -> None:
    """One line of figures."""
    with tempfile.TemporaryDirectory(prefix="valmon-bench-") as home:
        server = EmbeddedPostgres(Path(home), settings=settings)
        server.start()
        try:
            server.ensure_database("valmon")
            migrate.upgrade(server.url(), SCHEMA)
            database = Database(server.url(), SCHEMA, pool_size=max(2, writers))
            warehouse = Warehouse(database)
            identity = NetworkIdentity(SCHEMA, 0, bytes(32), SLOTS_PER_EPOCH, 12_000, SPAN)
            warehouse.bind_network(identity)
            store(warehouse, epochs[:2], 1)  # makes the child tables
            before = figure(database, "SELECT pg_current_wal_lsn() - '0/0'")
            seconds = store(warehouse, epochs, writers) + store(warehouse, epochs, writers)
            wal = figure(database, "SELECT pg_current_wal_lsn() - '0/0'") - before
            dead = figure(database, "SELECT sum(n_dead_tup) FROM pg_stat_user_tables")
            size = figure(database, "SELECT pg_database_size(current_database())")
            stored = 2 * len(epochs)
            print(
                f"| {name} | {stored / seconds:.1f} | {wal / stored / 1e6:.2f} | "
                f"{dead / 1e3:.0f} | {size / 1e6:.0f} |",
                flush=True,
            )
            database.close()
        finally:
            server.stop()


def figure(database: Database, query: str) -> float:
    """The one number that a query gives."""
    with database.transaction("measure") as connection:
        return float(connection.exec_driver_sql(query).scalar_one() or 0)


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--validators", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    facts = recorded_frames()
    epochs = [
        (
            epoch,
            {
                name: repeated(name, frame, epoch, options.validators)
                for name, frame in facts.items()
            },
        )
        for epoch in range(1000, 1000 + options.epochs)
    ]
    print(f"{options.validators:,} validators, {options.epochs} epochs stored twice\n")
    print("| setting | epochs a second | MB of WAL per epoch | thousand dead rows | MB on disk |")
    print("|---|---|---|---|---|")
    for name, settings in SETTINGS.items():
        measure(name, settings, epochs)
    for writers in POOLS:
        measure(f"{writers} writers at once", {}, epochs, writers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
