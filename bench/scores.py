"""What is made from stored facts, for a day of many validators: CPU seconds, part by part.

    python -m bench.scores [--validators 1000] [--epochs 225]

An epoch of the recorded devnet is repeated over validators and epochs and stored in a new embedded
PostgreSQL. Then each part computes and stores its tables. CPU is that of this process and of the
server. Another part is one more line in ``PARTS``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from bench.backfill import replay_node
from valmon_pipeline.assets.label_history import no_labels
from valmon_pipeline.assets.rescoring import diff
from valmon_pipeline.assets.score_batch import (
    FACTS_TAKEN,
    rescore_reason,
    score_batch,
    stored_facts,
)
from valmon_pipeline.assets.standings import make_due_standings
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.epoch_frames import compute_epoch_frames
from valmon_pipeline.frames import contract_of
from valmon_pipeline.reading.epoch_reader import EpochReader
from valmon_pipeline.scoring.standings import StandingRules
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.warehouse import Warehouse

SCHEMA: Final = "bench"
EVERYBODY: Final = Watch(network=True)
RECORDED_EPOCH: Final = 19
SLOTS_PER_EPOCH: Final = 8
SPAN: Final = 225
TARGET_SECONDS: Final = 20.0
"""For each part. All parts together have a minute of CPU for a day of 1,000 validators."""
FACTS: Final = (
    *("validator_snapshots", "attestation_outcomes", "attestation_rewards", "proposer_duties"),
    *("block_rewards", "sync_duties", "sync_rewards", "effectiveness_scores"),
    *("network_bands", "network_epochs", "epoch_summaries"),
)


def standings(warehouse: Warehouse, epochs: Sequence[int]) -> None:
    """All standings, as after a backfill."""
    made = make_due_standings(warehouse, StandingRules())
    assert made.made == set(epochs)


def standings_after_a_gap(warehouse: Warehouse, epochs: Sequence[int]) -> None:
    """The standings of a whole window, after its oldest epoch was stored again."""
    tables = {name: warehouse.read(name, epochs=[epochs[50]]) for name in FACTS}
    warehouse.replace_epoch(epochs[50], tables)
    assert len(make_due_standings(warehouse, StandingRules()).made) > 100


def live_epoch(warehouse: Warehouse, epochs: Sequence[int]) -> None:
    """The standings of the newest epoch alone, as in live operation."""
    tables = {name: warehouse.read(name, epochs=[epochs[-1]]) for name in FACTS}
    warehouse.replace_epoch(epochs[-1], tables)
    started = time.perf_counter()
    make_due_standings(warehouse, StandingRules())
    print(f"  standings {time.perf_counter() - started:.2f} s after the epoch was stored")


def rescoring(warehouse: Warehouse, epochs: Sequence[int]) -> None:
    """All scores and group sums again; nothing moves."""
    tables = {table: warehouse.read(table, epochs=epochs) for table in FACTS_TAKEN}
    facts = stored_facts(warehouse, epochs, tables)
    labels = warehouse.read("validator_labels")
    warehouse.store(score_batch(facts, labels, reason=rescore_reason()).step)


def rescore_diff(warehouse: Warehouse, epochs: Sequence[int]) -> None:
    """What would move, in scores and standings."""
    assert diff(warehouse, StandingRules(), epochs) == []


PARTS: Final[Mapping[str, Callable[[Warehouse, Sequence[int]], None]]] = {
    "standings of all epochs": standings,
    "standings of the newest epoch": live_epoch,
    "standings after a gap is filled": standings_after_a_gap,
    "rescore": rescoring,
    "rescore with diff": rescore_diff,
}


def recorded_frames() -> Mapping[str, pd.DataFrame]:
    """The facts of the recorded epoch, everybody watched."""

    async def read(url: str) -> Mapping[str, pd.DataFrame]:
        options = NodeOptions(url, requests_per_second=1e6, burst=100_000)
        async with BeaconClient.open(options) as client:
            reader = await EpochReader.open(client, EVERYBODY)
            answers = await reader.read(RECORDED_EPOCH)
            return compute_epoch_frames(
                reader.spec, answers, watch=EVERYBODY, labels=no_labels(), at=datetime.now(UTC)
            ).tables

    with replay_node() as url:
        frames = asyncio.run(read(url))
    return {name: frames[name] for name in FACTS}


def repeated(name: str, frame: pd.DataFrame, epoch: int, validators: int) -> pd.DataFrame:
    """The frame of another epoch, with as many validators."""
    if "validator_index" in contract_of(name).key:
        per_copy = 128
        copies = -(-validators // per_copy)
        frame = frame[frame["validator_index"] < per_copy]
        shift = np.repeat(np.arange(copies), len(frame)) * per_copy
        frame = pd.concat([frame] * copies, ignore_index=True)
        frame["validator_index"] += shift.astype("int32")
        frame = frame[frame["validator_index"] < validators]
    slots = (epoch - RECORDED_EPOCH) * SLOTS_PER_EPOCH
    moved = {str(column): frame[column] + slots for column in frame if str(column).endswith("slot")}
    frame = frame.assign(epoch=np.int32(epoch), **moved).astype(frame.dtypes.to_dict())
    return frame.sort_values(list(contract_of(name).key), ignore_index=True)


def fill(warehouse: Warehouse, epochs: Sequence[int], validators: int) -> None:
    """Store the facts of all epochs."""
    frames = recorded_frames()
    for epoch in epochs:
        tables = {name: repeated(name, frame, epoch, validators) for name, frame in frames.items()}
        # Whoever is one of many is not everybody: ranks in the network are kept as they are.
        warehouse.replace_epoch(epoch, tables)


def server_cpu_seconds(postmaster: int) -> float:
    """CPU of a PostgreSQL server: its processes, and those that have ended."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = stat.read_text().partition(" ")
        except OSError:  # ended meanwhile
            continue
        fields = rest.rpartition(")")[2].split()
        if int(pid) == postmaster:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == postmaster:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(warehouse: Warehouse, epochs: Sequence[int], postmaster: int) -> list[float]:
    """Run all parts and print their figures; the CPU of each."""
    seconds = []
    for name, part in PARTS.items():
        print(f"{name}:")
        own, server = time.process_time(), server_cpu_seconds(postmaster)
        started = time.perf_counter()
        part(warehouse, epochs)
        took = time.perf_counter() - started
        own, server = time.process_time() - own, server_cpu_seconds(postmaster) - server
        seconds.append(own + server)
        print(f"  {took:.1f} s, of it CPU {own:.1f} here and {server:.1f} in the server")
        print(f"  CPU {own + server:.2f} s (target < {TARGET_SECONDS:g})\n")
    return seconds


def main() -> int:
    """Print the figures; the exit code is 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--validators", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=225)
    options = parser.parse_args()
    epochs = range(1000, 1000 + options.epochs)
    print(f"{options.validators:,} validators, {options.epochs} epochs\n")
    with tempfile.TemporaryDirectory(prefix="valmon-bench-") as home:
        server = EmbeddedPostgres(Path(home))
        server.start()
        try:
            server.ensure_database("valmon")
            migrate.upgrade(server.url(), SCHEMA)
            database = Database(server.url(), SCHEMA)
            warehouse = Warehouse(database)
            identity = NetworkIdentity(SCHEMA, 0, bytes(32), SLOTS_PER_EPOCH, 12_000, SPAN)
            warehouse.bind_network(identity)
            fill(warehouse, epochs, options.validators)
            pid = (server.data_directory / "postmaster.pid").read_text().splitlines()[0]
            seconds = measure(warehouse, epochs, int(pid))
            database.close()
        finally:
            server.stop()
    return int(max(seconds) >= TARGET_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
