"""Storing a million rows of integers through the IO manager, against one CSV COPY of the same rows.

    python -m bench.store_frame [--rows 1000000] [--repeat 3]

Both go into equally keyed tables of one embedded server, in one run, in turns. The IO manager's
time holds everything: contract, order, advisory lock, deletion of the epoch's old rows, binary COPY
into the partition, commit. The CSV text is made beforehand; its time is COPY and commit alone.
Target: the IO manager takes at most 1.5 times as long. ``attestation_rewards`` has 19 integers per
row (11 of them nullable, checks over whole rows), ``attestation_duties`` 6.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import sqlalchemy as sa

from valmon_pipeline.frames import conform
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.database import Database, driver_connection
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.epoch_partitions import partition_of
from valmon_pipeline.storage.io_manager import StepIOManager, StepTable
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.step_frames import StepFrames
from valmon_pipeline.storage.warehouse import Warehouse

SCHEMA = "bench"
EPOCH = 400_000
SPAN = 225
TARGET = 1.5


def attestation_rewards(rows: int) -> pd.DataFrame:
    """Plausible rewards: every value present, so that no NULL saves any work."""
    random = np.random.default_rng(1)
    source, target, head = (random.integers(2_000, 5_000, rows) for _ in range(3))
    total = source + target + head
    return conform(
        "attestation_rewards",
        {
            "epoch": EPOCH,
            "validator_index": np.arange(rows),
            "effective_balance": np.full(rows, 32 * 10**9),
            "source_reward": source,
            "target_reward": target,
            "head_reward": head,
            "inactivity_penalty": 0,
            "total_reward": total,
            "ideal_source": source,
            "ideal_target": target,
            "ideal_head": head,
            "ideal_total": total,
            "attainable_total": total,
            "attainable_source": source,
            "attainable_target": target,
            "attainable_head": head,
            "missed_source": 0,
            "missed_target": 0,
            "missed_head": 0,
        },
    )


def attestation_duties(rows: int) -> pd.DataFrame:
    """Duties of mainnet's shape."""
    random = np.random.default_rng(2)
    return conform(
        "attestation_duties",
        {
            "epoch": EPOCH,
            "validator_index": np.arange(rows),
            "slot": EPOCH * 32 + random.integers(0, 32, rows),
            "committee_index": random.integers(0, 64, rows),
            "committee_position": random.integers(0, 488, rows),
            "committee_length": 488,
        },
    )


def seconds_through_io_manager(warehouse: Warehouse, table: str, frame: pd.DataFrame) -> float:
    """Hand the frame over as a Dagster step does."""
    key = f"{EPOCH:07d}"
    context = dg.build_output_context(
        asset_key=dg.AssetKey(["bench", table]),
        partition_key=key,
        asset_partitions_def=dg.StaticPartitionsDefinition([key]),
        run_id="bench",
    )
    manager = StepIOManager(warehouse)
    started = time.perf_counter()
    step = StepFrames((EPOCH,), {table: frame})
    manager.handle_output(context, StepTable(step, table))
    return time.perf_counter() - started


def seconds_of_csv_copy(database: Database, table: str, text: bytes) -> float:
    """COPY ready-made CSV into a table with the same columns, checks and key."""
    like = f"{SCHEMA}.{partition_of(table, EPOCH, SPAN).name}"
    with database.transaction("make the table to compare with") as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS bench.csv")
        connection.exec_driver_sql(f"CREATE TABLE bench.csv (LIKE {like} INCLUDING ALL)")
    started = time.perf_counter()
    with (
        database.transaction("copy") as connection,
        driver_connection(connection).cursor() as cursor,
        cursor.copy("COPY bench.csv FROM STDIN (FORMAT csv)") as copy,
    ):
        copy.write(text)
    return time.perf_counter() - started


def measure(warehouse: Warehouse, frame: pd.DataFrame, table: str, repeat: int) -> float:
    """Measure in turns and print the figures; the ratio of the medians."""
    database = warehouse.database
    text = frame.to_csv(index=False, header=False).encode()
    # The first pair makes the partition and warms caches; it is not counted.
    stored, copied = [], []
    for _ in range(repeat + 1):
        _empty(database, table)
        stored.append(seconds_through_io_manager(warehouse, table, frame))
        _checkpoint(database)
        copied.append(seconds_of_csv_copy(database, table, text))
        _checkpoint(database)
    ratio = statistics.median(stored[1:]) / statistics.median(copied[1:])
    started = time.perf_counter()
    read = warehouse.read(table, epochs=[EPOCH])
    reading = time.perf_counter() - started
    assert read.equals(frame)
    print(f"{table}: {len(frame):,} rows x {len(frame.columns)} integers")
    print(f"  IO manager  {_shown(stored[1:])}")
    print(f"  CSV COPY    {_shown(copied[1:])}")
    print(f"  ratio       {ratio:.2f} (target: at most {TARGET})")
    print(f"  read back   {reading:.2f} s, equal to what was stored")
    return ratio


def _empty(database: Database, table: str) -> None:
    """Start each turn without dead rows: the table to compare with is new as well."""
    with database.transaction("empty the table") as connection:
        connection.exec_driver_sql(f"TRUNCATE {SCHEMA}.{table}")


def _checkpoint(database: Database) -> None:
    """Keep the disk writes of one turn out of the next."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("CHECKPOINT"))


def _shown(seconds: list[float]) -> str:
    each = ", ".join(f"{value:.2f}" for value in seconds)
    return f"median {statistics.median(seconds):.2f} s ({each})"


def main() -> int:
    """Run both tables; the exit code says whether both ratios are within the target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="valmon-bench-") as home:
        server = EmbeddedPostgres(Path(home))
        server.start()
        try:
            server.ensure_database("valmon")
            migrate.upgrade(server.url(), SCHEMA)
            database = Database(server.url(), SCHEMA)
            warehouse = Warehouse(database)
            warehouse.bind_network(
                NetworkIdentity("bench", 0, bytes(32), 32, 12_000, partition_epochs=SPAN)
            )
            ratios = [
                measure(warehouse, make(options.rows), make.__name__, options.repeat)
                for make in (attestation_rewards, attestation_duties)
            ]
            database.close()
        finally:
            server.stop()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of this process: {peak:.2f} GiB")
    return 0 if max(ratios) <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
