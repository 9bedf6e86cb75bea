"""Requests and CPU of an epoch with 100 watched validators, in mainnet's shape, in one batch.

    python -m bench.epoch_requests [--epochs 18]

A simulated chain (32 slots an epoch, 10,000 validators of which every hundredth is watched) is
served by a process of its own, with its whole history, and read by ``EpochLoader`` as
``valmon backfill`` does, into an embedded PostgreSQL. CPU is that of this process: neither the
node's nor the server's. The first epoch also asks for what the others share, so both the mean and
what the epochs after the third take are shown.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.network_epoch import SCHEMA, open_client_at
from valmon_pipeline.assets.fact_batch import EpochReport
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader

VALIDATORS: Final = 10_000
FIRST_EPOCH: Final = 3
AFTER: Final = 3
MOST: Final = 45
_URL: Final = re.compile(r"http://127\.0\.0\.1:\d+")


@contextmanager
def simulated_node(epochs: int) -> Iterator[str]:
    """A chain that has run for some ``epochs`` and stands almost still; yields its address."""
    command = [sys.executable, "-m", "valmon_pipeline", "devnet", "simulate"]
    command += ["--preset", "mainnet", "--validators", str(VALIDATORS), "--port", "0"]
    command += ["--start-epoch", str(epochs), "--slot-ms", "60000"]
    node = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert node.stdout is not None
        for line in node.stdout:
            if address := _URL.search(line):
                yield address[0]
                break
        else:
            raise RuntimeError("the simulated node has ended")
    finally:
        node.terminate()
        node.wait()


def main() -> int:
    """Print the figures; exit code 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=18)
    arguments = parser.parse_args()
    epochs = range(FIRST_EPOCH, FIRST_EPOCH + arguments.epochs)
    watch = Watch(indices=frozenset(range(0, VALIDATORS, 100)), registry_limit=0)
    reports: list[EpochReport] = []
    at: list[float] = []

    def on_stored(report: EpochReport) -> None:
        reports.append(report)
        at.append(time.process_time())

    with (
        tempfile.TemporaryDirectory(prefix="valmon-bench-") as home,
        simulated_node(epochs[-1] + 4) as url,
    ):
        server = EmbeddedPostgres(Path(home))
        server.start()
        try:
            server.ensure_database("valmon")
            migrate.upgrade(server.url(), SCHEMA)
            warehouse = Warehouse(Database(server.url(), SCHEMA))
            started = time.process_time()
            outcome = EpochLoader(open_client_at(url), warehouse, watch).run(epochs, on_stored)
            assert not outcome.failures, outcome.failures
            warehouse.database.close()
        finally:
            server.stop()
    requests = [report.requests for report in reports]
    mean = sum(requests) / len(requests)
    print(f"{len(reports)} epochs in one batch, {len(watch.indices)} of {VALIDATORS:,} watched")
    print(f"  requests per epoch {mean:.1f} (target: at most {MOST})")
    print(f"  CPU per epoch {(at[-1] - started) / len(reports):.3f} s (no target)")
    print(f"\nwithout the first {AFTER}")
    rest = requests[AFTER:]
    print(f"  requests per epoch {sum(rest) / len(rest):.1f} (no target)")
    print(f"  CPU per epoch {(at[-1] - at[AFTER - 1]) / len(rest):.3f} s (no target)")
    return int(mean > MOST)


if __name__ == "__main__":
    sys.exit(main())
