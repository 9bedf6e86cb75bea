"""Storing and reading every validator of the network: CPU, memory and bytes, by its size.

    python -m bench.network_rows [--active 10000 100000 1000000] [--day 20000] [--days 90]

For each size an epoch of ``bench.network_sample`` is stored as in live operation, several times, in
a process of its own; beside it, in turns, the limit: COPY of the same bytes into a table without
anything else (the stream is made beforehand). Then it is read back, as arrays and by SQL.

With ``--day``, a day's 225 epochs of a network of that size are stored, packed and summed up, and
one of them is read again (``--active --day 1000000`` takes 7 GB of disk). With ``--days``, that day
is repeated in SQL so many times, and the history of a validator is asked for.

CPU is this process's and the server's. Bytes are per active validator and epoch, indexes included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from psycopg import sql

from bench.network_sample import network_epoch
from bench.scores import server_cpu_seconds
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.binary_copy import HEADER, TRAILER, copied_rows
from valmon_pipeline.storage.database import Database, driver_connection
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.epoch_partitions import (
    ensure_partitions,
    partition_of,
    swap_partition,
)
from valmon_pipeline.storage.network_days import NETWORK_DAYS, sum_up_network_day
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.network_packing import gather_outcomes, pack_span
from valmon_pipeline.storage.network_rows import NetworkRows, network_rows, tile_fields
from valmon_pipeline.storage.queries import (
    Span,
    network_distribution,
    network_validator_history,
)
from valmon_pipeline.storage.stored_days import day_of_epoch
from valmon_pipeline.storage.tile_table import TILES
from valmon_pipeline.storage.warehouse import Warehouse

SCHEMA: Final = "bench"
SPAN: Final = 225
ROUNDS: Final = 5
GOAL_SECONDS: Final = 20.0
GOAL_MB: Final = 1500
GOAL_BYTES: Final = 60.0
GOAL_BYTES_PACKED: Final = 10.0
GOAL_MILLISECONDS: Final = 200.0


class Bench:
    """A new server with a new warehouse, and what its work costs."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        server.ensure_database("valmon")
        migrate.upgrade(server.url(), SCHEMA)
        self.database = Database(server.url(), SCHEMA)
        self.warehouse = Warehouse(self.database)
        self.warehouse.bind_network(
            NetworkIdentity("bench", 0, bytes(32), 32, 12_000, partition_epochs=SPAN)
        )
        self._postmaster = int((server.data_directory / "postmaster.pid").read_text().split()[0])

    def cpu(self, run: Callable[[], object]) -> tuple[float, float]:
        """CPU seconds of a call: here, and in the server."""
        own, server = time.process_time(), server_cpu_seconds(self._postmaster)
        run()
        return time.process_time() - own, server_cpu_seconds(self._postmaster) - server

    def milliseconds(self, run: Callable[[], object]) -> float:
        """Median wall time of a call, warm."""
        run()
        times = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
        return statistics.median(times) * 1000

    def execute(self, statement: str) -> list[Any]:
        """The rows of a statement in the schema; none if it has none."""
        with self.database.transaction("run the benchmark") as connection:
            connection.exec_driver_sql(f"SET LOCAL search_path = {SCHEMA}")
            result = connection.exec_driver_sql(statement)
            return list(result.all()) if result.returns_rows else []

    def bytes_of(self, table: str) -> int:
        """Bytes of a table with its children, TOAST and indexes."""
        ((size,),) = self.execute(
            "SELECT sum(pg_total_relation_size(relid))::bigint "
            f"FROM pg_partition_tree('{SCHEMA}.{table}')"
            if table != NETWORK_DAYS
            else f"SELECT pg_total_relation_size('{SCHEMA}.{table}')"
        )
        return int(size)


@contextmanager
def bench_in_new_server() -> Iterator[Bench]:
    """A server in a temporary directory, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="valmon-bench-") as home:
        server = EmbeddedPostgres(Path(home))
        server.start()
        try:
            bench = Bench(server)
            yield bench
            bench.database.close()
        finally:
            server.stop()


def one_epoch(active: int, connection: Any) -> None:
    """Store and read an epoch, in a process of its own; sends the total CPU of storing."""
    with bench_in_new_server() as bench:
        network = network_epoch(1, active)
        before = _peak_mb()
        rows = network_rows(network)
        stream = b"".join([HEADER, *copied_rows(tile_fields(rows)), TRAILER])
        stored, laid_out, copied = [], [], []
        for number in range(ROUNDS + 1):
            bench.execute(f"TRUNCATE network_states, network_outcomes, {TILES}")
            store = partial(bench.warehouse.replace_epoch, 1, {}, network=network)
            stored.append(bench.cpu(store))
            bench.execute("DROP TABLE IF EXISTS plain")
            bench.execute(f"CREATE TABLE plain (LIKE {TILES})")
            copied.append(bench.cpu(partial(_copy, bench, rows, stream)))
            started = time.process_time()
            network_rows(network)
            laid_out.append(time.process_time() - started)
            del stored[: not number], copied[: not number], laid_out[: not number]
        own, server = (statistics.median(column) for column in zip(*stored, strict=True))
        limit = statistics.median(sum(one) for one in copied)
        print(f"\n{active:,} active of {len(network):,} validators")
        print(
            f"  layout {statistics.median(laid_out):.2f} s, all of storing {own:.2f} s here and "
            f"{server:.2f} s in PostgreSQL; COPY of the same {len(stream) / 1e6:.0f} MB alone "
            f"{limit:.2f} s"
        )
        peak = _peak_mb()
        size = (bench.bytes_of(TILES) + bench.bytes_of("network_outcomes")) / active
        outcomes = len(rows.frames["network_outcomes"])
        history = partial(network_validator_history, bench.warehouse, active, Span(0, 9))
        everybody = "SELECT sum(balance), sum(total_reward) FROM network_validators WHERE epoch = 1"
        distribution = partial(network_distribution, bench.warehouse, 1, "reward_effectiveness")
        print(
            f"  read back {bench.milliseconds(partial(bench.warehouse.read_network_epoch, 1)):.0f}"
            f" ms, summed up in SQL {bench.milliseconds(partial(bench.execute, everybody)):.0f} ms,"
            f" one validator {bench.milliseconds(history):.1f} ms; {outcomes} outcomes"
        )
        print(f"  CPU {own + server:.2f} s (target: at most {GOAL_SECONDS})")
        print(f"  memory peak {peak:.0f} MB (target: at most {GOAL_MB})")
        print(f"  memory of the columns and before {before:.0f} MB (no target)")
        print(f"  size {size:.1f} bytes (target: at most {GOAL_BYTES})")
        print(
            f"  distribution {bench.milliseconds(distribution):.1f} ms "
            f"(target: at most {GOAL_MILLISECONDS})"
        )
        kept = own + server <= GOAL_SECONDS and peak <= GOAL_MB and size <= GOAL_BYTES
        connection.send((own + server, bool(kept)))


def _copy(bench: Bench, rows: NetworkRows, stream: bytes) -> None:
    query = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(sql.Identifier(SCHEMA, "plain"))
    with (
        bench.database.transaction("copy") as connection,
        driver_connection(connection).cursor() as cursor,
        cursor.copy(query) as copy,
    ):
        for start in range(0, len(stream), 2**22):
            copy.write(stream[start : start + 2**22])


def a_day(bench: Bench, active: int) -> bool:
    """Store, pack and sum up a day's epochs."""
    network = bench.warehouse.network()
    assert network is not None
    for epoch in range(SPAN):
        bench.warehouse.replace_epoch(epoch, {}, network=network_epoch(epoch, active))
    each = active * SPAN
    outcomes = bench.bytes_of("network_outcomes") / each
    full = bench.bytes_of(TILES) / each
    day = day_of_epoch(network, 0)
    _forget_peak()
    before, wal = _peak_mb(), _wal_mb(bench)
    packing = bench.cpu(partial(pack_span, bench.warehouse, range(SPAN)))
    peak, wal = _peak_mb(), _wal_mb(bench) - wal
    packed = bench.bytes_of(TILES) / each
    summing = bench.cpu(partial(sum_up_network_day, bench.warehouse, day, range(SPAN)))
    days = bench.bytes_of(NETWORK_DAYS) / each
    middle = SPAN // 2
    everything = sum(bench.cpu(partial(bench.warehouse.read_network_epoch, middle)))
    rewards = f"SELECT sum(total_reward) FROM network_validators WHERE epoch = {middle}"
    without_balance = sum(bench.cpu(partial(bench.execute, rewards)))
    print(f"\nA day of {SPAN} epochs of {active:,} active validators")
    print(
        f"  tiles {full:.1f} bytes, outcomes {outcomes:.1f}; packed with {packing[0]:.1f} s of CPU "
        f"here and {packing[1]:.1f} s in PostgreSQL, summed up with {summing[0]:.1f} and "
        f"{summing[1]:.1f} s"
    )
    print(
        f"  packing: memory peak {peak:.0f} MB, {before:.0f} MB before; {wal:.0f} MB of WAL; epoch "
        f"{middle} read back with {everything:.1f} s of CPU, its rewards alone in SQL with "
        f"{without_balance:.1f} s"
    )
    print(f"  packed {packed + outcomes:.1f} bytes (no target)")
    print(f"  packed tiles {packed:.1f} bytes (target: at most {GOAL_BYTES_PACKED})")
    print(f"  summed up {days:.1f} bytes (target: at most {GOAL_BYTES_PACKED})")
    return max(packed, days) <= GOAL_BYTES_PACKED


def days(bench: Bench, active: int, count: int) -> bool:
    """Repeat the packed day, and ask for the history of validators over all of them."""
    spans = [
        partition_of(name, SPAN * number, SPAN)
        for number in range(1, count)
        for name in ("network_outcomes", TILES)
    ]
    with bench.database.transaction("make children") as connection:
        ensure_partitions(connection, SCHEMA, spans)
    for number in range(1, count):
        shift = number * SPAN
        for table, moved in (
            (TILES, "epoch"),
            ("network_outcomes", "epoch"),
            ("network_states", "epoch, tile_epoch"),
        ):
            names = [
                name
                for (name,) in bench.execute(
                    "SELECT column_name::text FROM information_schema.columns WHERE table_schema = "
                    f"'{SCHEMA}' AND table_name = '{table}' ORDER BY ordinal_position"
                )
            ]
            columns = ", ".join(
                f"{name} + {shift}" if name in moved.split(", ") else name for name in names
            )
            bench.execute(f"INSERT INTO {table} SELECT {columns} FROM {table} WHERE epoch < {SPAN}")
        with bench.database.transaction("gather outcomes") as connection:
            gathered = gather_outcomes(connection, SCHEMA, range(shift, shift + SPAN))
            swap_partition(connection, SCHEMA, *gathered)
    chosen = np.random.default_rng(5).choice(
        np.flatnonzero(network_epoch(1, active).active), ROUNDS, replace=False
    )
    span = Span(0, count * SPAN - 1)
    times, first, busy = [], [], []
    for validator in chosen.tolist():
        started = time.perf_counter()
        found = network_validator_history(bench.warehouse, validator, span)
        first.append((time.perf_counter() - started) * 1000)
        assert len(found) == count * SPAN
        query = (
            "SELECT sum(total_reward), sum(ideal_reward), max(balance) FROM "
            f"network_validator_history({validator}, {span.first}, {span.last})"
        )
        times.append(bench.milliseconds(partial(bench.execute, query)))
        busy.append(sum(bench.cpu(partial(bench.execute, query))) * 1000)
    summed = statistics.median(times)
    print(f"\nHistory over {count} days, {count * SPAN:,} epochs")
    print(f"  as a frame, first time {statistics.median(first):.0f} ms")
    print(f"  CPU in SQL {statistics.median(busy):.0f} ms (no target)")
    print(f"  in SQL {summed:.0f} ms (target: at most {GOAL_MILLISECONDS})")
    return summed <= GOAL_MILLISECONDS


def _wal_mb(bench: Bench) -> float:
    """How much has been written to WAL so far."""
    ((position,),) = bench.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
    return int(position) / 1e6


def _forget_peak() -> None:
    """Let the peak of this process's memory start from what it has now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> int:
    """Print the figures; the exit code says whether all goals are kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--active", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--day", type=int, default=20_000)
    parser.add_argument("--days", type=int, default=0)
    options = parser.parse_args()
    kept = []
    costs = {}
    for active in options.active:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.Process(target=one_epoch, args=(active, sender))
        process.start()
        process.join()
        assert process.exitcode == 0
        costs[active], good = receiver.recv()
        kept.append(good)
    if {100_000, 1_000_000} <= costs.keys():
        growth = costs[1_000_000] / costs[100_000]
        print(f"\nTen times as many validators\n  cost {growth:.1f} times (target: at most 10)")
        kept.append(growth <= 10)
    if options.day:
        with bench_in_new_server() as bench:
            kept.append(a_day(bench, options.day))
            if options.days:
                kept.append(days(bench, options.day, options.days))
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
