"""Services of ``valmon up`` that are killed while a run is under way, and the next start."""

from __future__ import annotations

import os
import signal

import pytest

from valmon_pipeline.deployment.up_state import UpState
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.stored import fresh_warehouse
from valmon_pipeline_tests.cli.home import Up, wait_until
from valmon_pipeline_tests.conftest import temporary_home
from valmon_pipeline_tests.resilience.drill import (
    Drill,
    PatientNode,
    is_failed,
    started_live_run,
)
from valmon_pipeline_tests.resilience.epoch_hashes import epoch_hashes
from valmon_pipeline_tests.resilience.worker import Work

pytestmark = pytest.mark.slow

VICTIMS = {10: "daemon", 11: "code-server", 12: "supervisor"}
"""Who is killed while which epoch is made."""


def test_services_that_are_killed_cost_no_epoch_and_leave_no_trace(
    node: PatientNode, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """Each is killed while a run is under way, whose state only it knows."""
    with temporary_home() as path:
        drill = Drill(path, node, VALMON_START_EPOCH="10")
        left: dict[int, str] = {}

        def hold(epoch: int) -> None:
            node.held.add(epoch)
            node.close_window(epoch)

        hold(10)
        for epoch, victim in VICTIMS.items():
            with drill.up() as up, drill.instance(monkeypatch) as instance:
                # The service that is killed next is the one that recovered from the kill before.
                for before, run_id in left.items():
                    drill.wait_for_epoch(before)
                    wait_until(lambda run_id=run_id: is_failed(instance, run_id))  # type: ignore[misc]
                hold(epoch)
                left[epoch] = started_live_run(instance, epoch).run_id
                kill(drill, up, victim)
                if victim == "supervisor":
                    assert len(drill.home.processes()) > 3
                else:
                    assert up.end() == 1
                    assert f"{victim.replace('-', ' ')} ended by itself by signal SIGKILL" in (
                        up.printed
                    )
                    assert drill.home.processes() == []
            # Not before all of it is gone: without its supervisor, the run would go on to its end.
            node.held.clear()
        with (
            drill.up(),
            drill.instance(monkeypatch) as instance,
            drill.warehouse() as warehouse,
        ):
            for epoch, run_id in left.items():
                drill.wait_for_epoch(epoch)
                wait_until(lambda run_id=run_id: is_failed(instance, run_id))  # type: ignore[misc]
            node.close_window(18)
            wait_until(lambda: final_epochs(warehouse) >= VICTIMS.keys())
            hashes = epoch_hashes(warehouse)
            assert warehouse.read("corrections").empty
        with fresh_warehouse(database_url) as warehouse:
            Work(node.url, database_url, warehouse.schema, [*VICTIMS]).finish([*VICTIMS])
            assert {epoch: hashes[epoch] for epoch in VICTIMS} == epoch_hashes(warehouse)


def kill(drill: Drill, up: Up, victim: str) -> None:
    """End a process without warning."""
    if victim == "supervisor":
        assert up.end(signal.SIGKILL) == -signal.SIGKILL
        return
    state = UpState.read(drill.home.path / "up.json")
    assert state is not None
    os.kill(state.processes[f"{victim}.log"], signal.SIGKILL)


def final_epochs(warehouse: Warehouse) -> set[int]:
    """The epochs that are stored and final."""
    epochs = warehouse.read("network_epochs", columns=["epoch", "finalized"])
    return set(epochs.loc[epochs["finalized"], "epoch"])
