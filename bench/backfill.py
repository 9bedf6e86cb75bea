"""Backfill of the recorded devnet: epochs per second, and where the time goes.

    python -m bench.backfill [--repeat 3]

The replay node is a process of its own, the database an embedded PostgreSQL, both new. The same
epochs are materialized in three ways, in turns:

* part by part: each epoch is read, computed and stored, one after the other, each part timed;
* bare: ``EpochLoader``, which reads the next epoch while it computes and stores this one;
* backfill: the job ``materialize_epochs`` with Dagster's instance in PostgreSQL, as
  ``valmon backfill`` runs it. What it takes longer than the bare run is Dagster's share.

Figures are medians over the turns; the first turn warms up and is not counted. The tables are empty
before each: storing epochs that are stored already also compares every value, which is not part of
loading history.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import dagster as dg

from valmon_pipeline.assets.fact_batch import network_identity
from valmon_pipeline.assets.loading import load_epochs
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.cli.backfill import dagster_ready
from valmon_pipeline.deployment.backfill import Backfill, BackfillProgress
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.epoch.epoch_frames import compute_epoch_frames
from valmon_pipeline.frames import TABLES
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline.reading.epoch_reader import EpochReader
from valmon_pipeline.storage.warehouse import Warehouse

WATCHED: Final[Mapping[str, Mapping[str, str]]] = {
    "everybody": {"VALMON_WATCH": "network"},
    "100 validators": {"VALMON_VALIDATORS": "0..99"},
}
# The replay node is a process on this machine: what is measured is valmon, not its politeness.
UNLIMITED: Final[Mapping[str, str]] = {
    "VALMON_RATE_LIMIT__REQUESTS_PER_SECOND": "10000",
    "VALMON_RATE_LIMIT__BURST": "100000",
}


@contextmanager
def replay_node() -> Iterator[str]:
    """A replay node in a process of its own; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    node = subprocess.Popen(
        [sys.executable, "-m", "valmon_pipeline.devnet.replay_node", "--port", str(port)]
    )
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if node.poll() is not None:
                raise SystemExit("the replay node ended by itself")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        node.terminate()
        node.wait()


@dataclass(slots=True)
class Turn:
    """Wall-clock seconds of one turn over all epochs, and what was asked of the node in it."""

    reading: float = 0.0
    computing: float = 0.0
    storing: float = 0.0
    bare: float = 0.0
    bare_cpu: float = 0.0
    backfill: float = 0.0
    backfill_cpu: float = 0.0
    requests: int = 0
    bytes_received: int = 0


async def part_by_part(pipeline: Pipeline, epochs: Sequence[int], turn: Turn) -> None:
    """Read, compute and store each epoch, one after the other."""
    async with pipeline.open_client() as client:
        reader = await EpochReader.open(client, pipeline.watch)
        pipeline.warehouse.bind_network(network_identity(reader))
        labels = pipeline.warehouse.read("validator_labels")
        for epoch in epochs:
            started = time.perf_counter()
            answers = await reader.read(epoch)
            read = time.perf_counter()
            frames = compute_epoch_frames(
                reader.spec,
                answers,
                watch=pipeline.watch,
                labels=labels,
                at=datetime.now(UTC),
            )
            computed = time.perf_counter()
            pipeline.warehouse.replace_epoch(epoch, frames.tables)
            turn.reading += read - started
            turn.computing += computed - read
            turn.storing += time.perf_counter() - computed
        turn.requests = client.statistics.requests
        turn.bytes_received = client.statistics.bytes_received


def bare(pipeline: Pipeline, epochs: Sequence[int], turn: Turn) -> None:
    """Materialize the epochs without Dagster."""
    started, cpu = time.perf_counter(), time.process_time()
    outcome = load_epochs(pipeline.fact_reader(pipeline.warehouse), epochs)
    turn.bare, turn.bare_cpu = time.perf_counter() - started, time.process_time() - cpu
    if outcome.failures:
        raise SystemExit(f"epochs failed: {outcome.failures}")


def through_dagster(
    installation: Installation,
    url: str,
    instance: dg.DagsterInstance,
    epochs: Sequence[int],
    turn: Turn,
) -> None:
    """Materialize the epochs as ``valmon backfill`` does."""
    progress = BackfillProgress()
    started, cpu = time.perf_counter(), time.process_time()
    with Backfill(installation.settings, url, instance, progress) as backfill:
        backfill.run(epochs)
    turn.backfill, turn.backfill_cpu = time.perf_counter() - started, time.process_time() - cpu
    if progress.failures:
        raise SystemExit(f"epochs failed: {progress.failures}")


def forget_epochs(warehouse: Warehouse) -> None:
    """Empty every table that is kept by epoch."""
    tables = [contract.name for contract in TABLES.values() if contract.by_epoch]
    with warehouse.database.transaction("empty the tables") as connection:
        names = ", ".join(f"{warehouse.schema}.{table}" for table in tables)
        connection.exec_driver_sql(f"TRUNCATE {names}")


def measure(watched: str, node: str, epochs: Sequence[int], repeat: int) -> None:
    """Measure in turns, with a home of its own, and print the figures."""
    turns = []
    with tempfile.TemporaryDirectory(prefix="valmon-bench-") as home:
        installation = Installation.load(
            environ={
                "VALMON_HOME": home,
                "VALMON_NETWORK": "bench",
                "VALMON_BEACON_URL": node,
                **UNLIMITED,
                **WATCHED[watched],
            }
        )
        with dagster_ready(installation) as (url, instance):
            pipeline = pipeline_of(installation.settings, lambda: url)
            for _ in range(repeat + 1):
                turn = Turn()
                forget_epochs(pipeline.warehouse)
                asyncio.run(part_by_part(pipeline, epochs, turn))
                forget_epochs(pipeline.warehouse)
                bare(pipeline, epochs, turn)
                forget_epochs(pipeline.warehouse)
                through_dagster(installation, url, instance, epochs, turn)
                turns.append(turn)
            pipeline.warehouse.database.close()
    print(f"\nwatching {watched}, {len(epochs)} epochs, median of {repeat} turns")
    report(turns[1:], len(epochs))


def report(turns: Sequence[Turn], epochs: int) -> None:
    """Print what the turns took; a figure ``name value unit (…)`` is one of the summary's."""

    def seconds(part: str) -> float:
        each: list[float] = [getattr(turn, part) for turn in turns]
        return statistics.median(each)

    parts = {part: seconds(part) for part in ("reading", "computing", "storing")}
    one_by_one = sum(parts.values())
    requests, received = turns[0].requests, turns[0].bytes_received
    print(
        f"  {requests / epochs:.0f} requests and {received / epochs / 1000:.0f} kB per epoch; "
        "milliseconds per epoch:"
    )
    for part, taken in parts.items():
        print(f"  {part:12} {taken / epochs * 1000:6.1f}   {taken / one_by_one:4.0%}")
    print(f"  {'one by one':12} {one_by_one / epochs * 1000:6.1f}   100%")
    for name in ("bare", "backfill"):
        took, busy = seconds(name), seconds(f"{name}_cpu")
        print(f"  {name:12} {took / epochs * 1000:6.1f}   of it CPU {busy / epochs * 1000:.1f}")
    wall = statistics.median((turn.backfill - turn.bare) / turn.backfill for turn in turns)
    cpu = statistics.median(
        (turn.backfill_cpu - turn.bare_cpu) / turn.backfill_cpu for turn in turns
    )
    print(f"  epochs per second bare {epochs / seconds('bare'):.1f} (no target)")
    print(f"  epochs per second backfill {epochs / seconds('backfill'):.1f} (no target)")
    print(f"  share of Dagster in time {wall:.2f} (no target)")
    print(f"  share of Dagster in CPU {cpu:.2f} (no target)")


def main() -> None:
    """Measure for everybody and for a list of validators."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    recorded = Recording.load(RECORDING_PATH).epochs
    print(f"epochs {recorded.start}..{recorded.stop - 1} of the recorded devnet")
    with replay_node() as node:
        for watched in WATCHED:
            measure(watched, node, recorded, repeat)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory of this process: {peak:.0f} MB")


if __name__ == "__main__":
    main()
