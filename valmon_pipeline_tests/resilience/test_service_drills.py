"""What goes wrong with a running service: too much to do, runs that hang, services that are killed.

The service is ``valmon up``, as it is shipped; the node and its clock are the test's.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import dagster as dg
import pytest

from valmon_pipeline.assets.asset_graph import STEP_ASSETS
from valmon_pipeline.assets.run_tags import WORK_TAG
from valmon_pipeline.deployment.up_state import UpState
from valmon_pipeline.partitions import epoch_key, register_epochs
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.stored import fresh_warehouse
from valmon_pipeline_tests.cli.home import Up, wait_until
from valmon_pipeline_tests.conftest import temporary_home
from valmon_pipeline_tests.resilience.drill import (
    NETWORK,
    Drill,
    PatientNode,
    patient_node,
    process_of,
    started,
    started_live_run,
)
from valmon_pipeline_tests.resilience.epoch_hashes import epoch_hashes
from valmon_pipeline_tests.resilience.worker import Work

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("up")]

BACKFILL = """mutation($names: [String!]!, $assets: [AssetKeyInput!]!) {
  launchPartitionBackfill(backfillParams: {partitionNames: $names, assetSelection: $assets}) {
    __typename ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message } } }"""


LAUNCH = """mutation($tags: [ExecutionTag!]!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "valmon", repositoryName: "__repository__",
      jobName: "materialize_epochs"},
    runConfigData: {}, executionMetadata: {tags: $tags}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
SHORT = {"dagster/max_runtime": "25"}


@pytest.fixture
def node() -> Iterator[PatientNode]:
    with patient_node() as node:
        yield node


def test_a_backfill_and_catching_up_leave_a_slot_for_the_newest_epoch(
    node: PatientNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with temporary_home() as path:
        drill = Drill(path, node, VALMON_START_EPOCH="16", VALMON_BACKFILL__MAX_EPOCHS_PER_RUN="5")
        node.close_window(20)
        node.held.update(range(1, 19))  # the ledger of 20 needs the rewards for 19
        with drill.up() as up, drill.instance(monkeypatch) as instance:
            drill.wait_for_epoch(20)
            register_epochs(instance, NETWORK, range(1, 15))
            backfill = launch_backfill(up, range(1, 15))
            running = [
                *started(instance, {"dagster/backfill": backfill}, count=2),
                *started(instance, {WORK_TAG: "catch_up"}),
            ]
            node.close_window(21)
            drill.wait_for_epoch(21)
            for run in running:
                now = instance.get_run_by_id(run.run_id)
                assert now is not None
                assert now.status is dg.DagsterRunStatus.STARTED
            waiting = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))
            assert [run.tags.get("dagster/backfill") for run in waiting] == [backfill]
            node.held.clear()
            wait_until(lambda: is_over(instance, waiting[0].run_id))


def test_a_run_that_hangs_is_ended_by_its_deadline_and_its_epoch_requested_again(
    node: PatientNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with temporary_home() as path:
        drill = Drill(path, node)
        node.close_window(12)
        with drill.up() as up, drill.instance(monkeypatch) as instance:
            drill.wait_for_epoch(12)
            register_epochs(instance, NETWORK, [5])
            with drill.table_locked("blocks"):
                run_id = launch_run(up, {"dagster/partition": epoch_key(5), **SHORT})
                (hung,) = started(instance, {"dagster/partition": epoch_key(5)})
                assert hung.run_id == run_id
                worker = process_of(instance, hung)
                wait_until(lambda: is_failed(instance, run_id))
                wait_until(lambda: not is_alive(worker))
                assert 5 not in drill.stored()
            drill.wait_for_epoch(5)
            again = instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": run_id}))
            assert again
            assert "Timeout" in (drill.home.path / "logs" / "code-server.log").read_text()


def test_services_that_are_killed_cost_no_epoch_and_leave_no_trace(
    node: PatientNode, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """Each is killed while a run is under way, whose state only it knows."""
    with temporary_home() as path:
        drill = Drill(path, node, VALMON_START_EPOCH="10")
        for epoch, victim in enumerate(("daemon", "code-server", "supervisor"), start=10):
            node.held.add(epoch)
            node.close_window(epoch)
            with drill.up() as up, drill.instance(monkeypatch) as instance:
                left = started_live_run(instance, epoch)
                kill(drill, up, victim)
                if victim == "supervisor":
                    assert len(drill.home.processes()) > 3
                else:
                    assert up.end() == 1
                    assert f"{victim.replace('-', ' ')} ended by itself by signal SIGKILL" in (
                        up.printed
                    )
                    assert drill.home.processes() == []
                node.held.clear()
            with drill.up(), drill.instance(monkeypatch) as instance:
                drill.wait_for_epoch(epoch)
                wait_until(lambda run_id=left.run_id: is_failed(instance, run_id))  # type: ignore[misc]
        node.close_window(18)
        with drill.up(), drill.warehouse() as warehouse:
            wait_until(lambda: final_epochs(warehouse) >= {10, 11, 12})
            hashes = epoch_hashes(warehouse)
            assert warehouse.read("corrections").empty
        with fresh_warehouse(database_url) as warehouse:
            Work(node.url, database_url, warehouse.schema, range(10, 13)).finish(range(10, 13))
            undisturbed = epoch_hashes(warehouse)
            assert {epoch: hashes[epoch] for epoch in range(10, 13)} == undisturbed


def launch_backfill(up: Up, epochs: range) -> str:
    """Launch a backfill as the UI does; its id."""
    answer = up.ask(
        BACKFILL,
        {
            "names": [epoch_key(epoch) for epoch in epochs],
            "assets": [{"path": [NETWORK, table]} for table in STEP_ASSETS],
        },
    )["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    backfill_id: str = answer["backfillId"]
    return backfill_id


def launch_run(up: Up, tags: dict[str, str]) -> str:
    """Launch a run that materializes epochs as the UI does; its id."""
    given = [{"key": key, "value": value} for key, value in tags.items()]
    answer = up.ask(LAUNCH, {"tags": given})["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    run_id: str = answer["run"]["runId"]
    return run_id


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


def is_failed(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run is marked as failed."""
    run = instance.get_run_by_id(run_id)
    return run is not None and run.status is dg.DagsterRunStatus.FAILURE


def is_over(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run has ended well."""
    run = instance.get_run_by_id(run_id)
    return run is not None and run.status is dg.DagsterRunStatus.SUCCESS


def is_alive(process: int) -> bool:
    """Whether a process is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
