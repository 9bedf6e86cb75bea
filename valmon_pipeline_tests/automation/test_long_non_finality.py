"""Two hundred epochs without finality: results go on, memory stays flat, and all of it turns final.

The chain is simulated in a process of its own, so that only valmon's memory is measured: 24 of 64
validators are offline, and then come back.
"""

from __future__ import annotations

import gc
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import dagster as dg
import pytest

from valmon_pipeline.devnet.simulator import Simulation, config, simulated_node
from valmon_pipeline.devnet.simulator.incidents import Offline
from valmon_pipeline_tests.assets.stored import fresh_warehouse
from valmon_pipeline_tests.automation.service import Service

FIRST = 3
WITHOUT = range(5, 206)
WARM = 30
MOST_GROWTH_MEGABYTES = 40.0


def serve(pipe: Connection) -> None:
    """A node whose chain reaches the epochs it is told to."""
    simulation = Simulation(config("minimal"), 64, seed=5, incidents=[Offline(range(24), WITHOUT)])
    with simulated_node(simulation) as node:
        pipe.send(node.url)
        while (epoch := pipe.recv()) is not None:
            simulation.advance_to_epoch(epoch)
            simulation.advance_to(simulation.head_slot + 7)  # whoever proposes first may be away
            pipe.send(simulation.finalized_epoch)


@pytest.fixture
def advance() -> Iterator[tuple[str, Callable[[int], int]]]:
    """The node's address, and what lets its chain reach an epoch: returns the finalized one."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    process.start()

    def to(epoch: int) -> int:
        ours.send(epoch)
        finalized: int = ours.recv()
        return finalized

    yield ours.recv(), to
    ours.send(None)
    process.join()


def resident_megabytes() -> float:
    """Memory of this process now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of the process from /proc")
def test_two_hundred_epochs_without_finality(
    advance: tuple[str, Callable[[int], int]], database_url: str
) -> None:
    url, to = advance
    with dg.DagsterInstance.ephemeral() as instance, fresh_warehouse(database_url) as warehouse:
        service = Service(instance, warehouse, database_url, url)
        before = 0.0
        for epoch in range(FIRST, WITHOUT.stop):
            finalized = to(epoch + 2)
            assert service.follow() == [[epoch]]
            service.tick("finality_sensor")
            if epoch == FIRST + WARM:
                before = resident_megabytes()
                assert finalized < WITHOUT.start + 2
        assert finalized < WITHOUT.start + 2
        grown = resident_megabytes() - before
        assert grown < MOST_GROWTH_MEGABYTES, f"{grown:.0f} MB more than after {WARM} epochs"
        waiting = [epoch for epoch, is_final in service.finality().items() if not is_final]
        assert len(waiting) > 195

        assert to(WITHOUT.stop + 8) > WITHOUT.stop
        service.follow()
        for _ in range(5):
            service.tick("finality_sensor")
        left = [epoch for epoch, is_final in service.finality().items() if not is_final]
        assert all(epoch > WITHOUT.stop for epoch in left)
        assert warehouse.read("corrections").empty
        print(f"memory grew by {grown:.1f} MB in {len(WITHOUT) - WARM} epochs")
        service.pipeline.warehouse.database.close()
