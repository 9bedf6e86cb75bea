"""From the start of a slot to the stored live snapshot, and the CPU time that it takes.

    python -m bench.live_slots [--slots 10] [--validators 1000] [--grid 5]

A replay node in a process of its own lets the recorded chain run with slots of 12 seconds, as on
mainnet. The recording has 129 validators: the node repeats them under further indices, until there
are as many as are watched, so that answers and rows are as large as they would be. The follower
looks at the head on a grid of five seconds, as Dagster's sensor loop does, and takes a snapshot at
every slot. The node has a block as soon as its slot begins: on mainnet, add the one to four seconds
that a block takes to arrive.

Time is from the slot's start by the clock to the commit; CPU time is that of the follower and of
PostgreSQL together, per slot, with all looks of the slot. Targets: p50 below 6 s, p99 below 12 s,
less than 0.3 CPU-seconds per slot for 1,000 validators.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import multiprocessing.connection
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from valmon_pipeline.assets.live import LiveFollower
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.warehouse import Warehouse

START_SLOT: Final = 225
"""From here on the recording has few missed slots."""
SLOT_SECONDS: Final = 12
SCHEMA: Final = "bench"
MOST_MEDIAN_SECONDS: Final = 6.0
MOST_SLOW_SECONDS: Final = 12.0
MOST_CPU_SECONDS: Final = 0.3


class Crowd:
    """The ``faults`` hook of a replay node: the registry, repeated up to a number of validators."""

    def __init__(self, recording: Recording, validators: int) -> None:
        self._recording = recording
        self._validators = validators
        self._bodies: dict[int, bytes] = {}

    def __call__(self, request: Request) -> Response | None:
        """The answer about the validators of a state, or None for all other questions."""
        asked = re.fullmatch(r"/eth/v1/beacon/states/(\d+)/validators", request.url.path)
        if asked is None:
            return None
        epoch = int(asked[1]) // self._recording.slots_per_epoch
        if epoch not in self._bodies:
            self._bodies[epoch] = self._registry(epoch * self._recording.slots_per_epoch)
        return Response(self._bodies[epoch], media_type="application/json")

    def _registry(self, slot: int) -> bytes:
        recorded = self._recording.best("GET", f"/eth/v1/beacon/states/{slot}/validators")
        assert recorded is not None
        answer: dict[str, Any] = json.loads(recorded.content)
        rows = answer["data"]
        answer["data"] = [
            rows[index % len(rows)] | {"index": str(index)} for index in range(self._validators)
        ]
        return json.dumps(answer, separators=(",", ":")).encode()


def serve(validators: int, ready: multiprocessing.connection.Connection) -> None:
    """Serve the chain until the other end of ``ready`` closes."""
    recording = Recording.load(RECORDING_PATH)
    speed = recording.slot_duration_ms / 1000 / SLOT_SECONDS
    node = ReplayNode(
        recording,
        live=True,
        start_slot=START_SLOT,
        speed=speed,
        faults=Crowd(recording, validators),
    )
    with BackgroundReplayNode(node) as background:
        ready.send(background.url)
        ready.poll(None)


def main(arguments: list[str] | None = None) -> int:
    """Follow some slots and print the figures; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=10)
    parser.add_argument("--validators", type=int, default=1000)
    parser.add_argument("--grid", type=float, default=5.0)
    options = parser.parse_args(arguments)
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    node = context.Process(target=serve, args=(options.validators, theirs), daemon=True)
    node.start()
    url = ours.recv()
    with tempfile.TemporaryDirectory(prefix="valmon-bench-") as home:
        server = EmbeddedPostgres(Path(home))
        server.start()
        try:
            server.ensure_database("valmon")
            migrate.upgrade(server.url(), SCHEMA)
            figures = follow(url, server, options.slots, options.validators, options.grid)
        finally:
            server.stop()
            node.terminate()
            node.join()
    print(f"live snapshots of {options.validators} validators")
    for name, value, most in figures:
        print(f"  {name}  {value:.2f} s (target: < {most:g})")
    return 0 if all(value < most for _, value, most in figures) else 1


def follow(
    url: str, server: EmbeddedPostgres, slots: int, validators: int, grid: float
) -> list[tuple[str, float, float]]:
    """Follow ``slots`` slots of the node at ``url``; the figures with their limits."""
    options = NodeOptions(url)
    database = Database(server.url(), SCHEMA)
    follower = LiveFollower(
        lambda avoid=(), archive=False: BeaconClient.open(options),
        lambda: Warehouse(database),
        Watch(indices=frozenset(range(validators))),
        1,
    )
    follower.look()  # imports, the first connection, the day's child tables
    network = Warehouse(database).network()
    assert network is not None
    seconds: list[float] = []
    cpu = time.process_time() + cpu_seconds_of(server)
    last = follower.look().head_slot
    while len(seconds) < slots:
        time.sleep(grid - time.time() % grid)
        report = follower.look()
        if report.head_slot > last:
            # After a reorganization, those of the slots that were left are taken again, too.
            assert report.snapshot_rows >= validators
            start = network.genesis_time + report.head_slot * network.slot_duration_ms / 1000
            seconds.append(time.time() - start)
            last = report.head_slot
    cpu = time.process_time() + cpu_seconds_of(server) - cpu
    return [
        ("median of slots", float(np.percentile(seconds, 50)), MOST_MEDIAN_SECONDS),
        ("slowest of a hundred slots", float(np.percentile(seconds, 99)), MOST_SLOW_SECONDS),
        ("CPU time per slot", cpu / slots, MOST_CPU_SECONDS),
    ]


def cpu_seconds_of(server: EmbeddedPostgres) -> float:
    """CPU time so far of the PostgreSQL server and its processes, ended ones included."""
    ticks = 0
    postmaster = int((server.data_directory / "postmaster.pid").read_text().splitlines()[0])
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        own, parent = int(directory.name), int(fields[1])
        if own == postmaster:
            ticks += sum(map(int, fields[11:15]))  # with the children it has waited for
        elif parent == postmaster:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
