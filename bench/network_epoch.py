"""One epoch with a watch list on a network of mainnet's size: CPU seconds and memory.

    python -m bench.network_epoch [--active 1000000] [--watched 1000]

A node of a made-up network (``bench.network_node``), a process of its own, is read over HTTP, and
the epoch is stored in a new embedded PostgreSQL, by ``EpochLoader`` as in live operation:
first without the state, then with it (``whole_network: distribution``), then with everybody's rows
(``full``). CPU is that of this process and of the PostgreSQL server, not the node's. The first
epoch of each kind warms up. Memory is the peak of this process with its modules so far.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from bench.network_node import EPOCH
from bench.scores import server_cpu_seconds
from valmon_pipeline.assets.fact_batch import EpochReport
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.beacon.open_client import OpenClient
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.errors import BeaconUnreachableError
from valmon_pipeline.frames import TABLES
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.tile_table import TILES
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader

ROUNDS: Final = 3
GOAL_SECONDS: Final = {"off": 6.0, "distribution": 6.0, "full": 20.0}
GOAL_MB: Final = 1500
SCHEMA: Final = "bench"


@contextmanager
def made_up_node(active: int) -> Iterator[str]:
    """The node in a process of its own; yields its address."""
    command = [sys.executable, "-m", "bench.network_node", str(active)]
    node = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert node.stdout is not None
        yield node.stdout.readline().strip()
    finally:
        node.terminate()
        node.wait()


def open_client_at(url: str) -> OpenClient:
    """Open clients of one node, asked as fast as it answers."""

    @asynccontextmanager
    async def open_client(
        avoid: Collection[str] = (), *, archive: bool = False
    ) -> AsyncIterator[BeaconClient]:
        async with BeaconClient.open(NodeOptions(url, requests_per_second=1e6)) as client:
            if client.name in avoid:
                raise BeaconUnreachableError("there is no other node")
            yield client

    return open_client


def materialize(url: str, warehouse: Warehouse, watch: Watch) -> EpochReport:
    """Read, compute and store the epoch."""
    reports: list[EpochReport] = []
    materializer = EpochLoader(open_client_at(url), warehouse, watch)
    outcome = materializer.run([EPOCH], reports.append)
    assert not outcome.failures, outcome.failures
    return reports[0]


def measure(url: str, warehouse: Warehouse, kind: str, few: Watch, postmaster: int) -> bool:
    """Print the median CPU seconds of an epoch, of this process and the server; whether the goal is
    kept."""
    watch = replace(few, network_state=kind != "off", network_rows=kind == "full")
    rounds = []
    for number in range(ROUNDS + 1):
        empty(warehouse)
        own, server, wall = time.process_time(), server_cpu_seconds(postmaster), time.monotonic()
        report = materialize(url, warehouse, watch)
        own, server = time.process_time() - own, server_cpu_seconds(postmaster) - server
        if number:
            rounds.append((own, server, time.monotonic() - wall))
    own, server, wall = (median(column) for column in zip(*rounds, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(
        f"\nwhole_network: {kind}\n  {own:.2f} s here, {server:.2f} s in PostgreSQL, {wall:.2f} s "
        f"of wall time, {report.requests} requests, {report.bytes_received / 1e6:.0f} MB received"
    )
    goal = GOAL_SECONDS[kind]
    print(f"  CPU {own + server:.2f} s (target: at most {goal})")
    print(f"  memory peak {peak:.0f} MB (target: at most {GOAL_MB})")
    failing = {
        f"{check.asset}.{check.name}": (check.failing, check.detail)
        for check in report.checks
        # Balances are made up and nothing moves them.
        if check.failed and check.name != "every_gwei_is_accounted_for"
    }
    assert not failing, failing
    return bool(own + server <= goal and peak <= GOAL_MB)


def empty(warehouse: Warehouse) -> None:
    """Storing an epoch that is stored already also compares every value."""
    tables = [*TABLES, TILES]
    names = ", ".join(f'"{SCHEMA}"."{name}"' for name in tables if name != "network_identity")
    with warehouse.database.transaction("empty the tables") as connection:
        connection.exec_driver_sql(f"TRUNCATE {names}")


def main() -> int:
    """Print the figures; exit code 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--active", type=int, default=1_000_000)
    parser.add_argument("--watched", type=int, default=1_000)
    arguments = parser.parse_args()
    everybody = int(arguments.active * 2.2)
    chosen = np.random.default_rng(3).choice(everybody, int(arguments.watched * 2.2), replace=False)
    few = Watch(indices=frozenset(chosen.tolist()), registry_limit=0)
    with (
        tempfile.TemporaryDirectory(prefix="valmon-bench-") as home,
        made_up_node(arguments.active) as url,
    ):
        server = EmbeddedPostgres(Path(home))
        server.start()
        try:
            server.ensure_database("valmon")
            migrate.upgrade(server.url(), SCHEMA)
            warehouse = Warehouse(Database(server.url(), SCHEMA))
            postmaster = int((server.data_directory / "postmaster.pid").read_text().split()[0])
            print(f"{arguments.active:,} active, {arguments.watched:,} of them watched")
            kept = [measure(url, warehouse, kind, few, postmaster) for kind in GOAL_SECONDS]
            warehouse.database.close()
        finally:
            server.stop()
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
