"""What goes wrong with a running service: too much to do, runs that hang.

The service is ``valmon up``, as it is shipped; the node and its clock are the test's.
"""

from __future__ import annotations

import os

import dagster as dg
import pytest

from valmon_pipeline.assets.asset_graph import EPOCH_TABLES
from valmon_pipeline.assets.run_tags import WORK_TAG
from valmon_pipeline.partitions import epoch_key, register_epochs
from valmon_pipeline_tests.cli.home import Up, wait_until
from valmon_pipeline_tests.conftest import temporary_home
from valmon_pipeline_tests.resilience.drill import (
    NETWORK,
    Drill,
    PatientNode,
    is_failed,
    process_of,
    started,
)

pytestmark = pytest.mark.slow

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


def test_a_backfill_and_catching_up_leave_a_slot_for_the_newest_epoch(
    node: PatientNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with temporary_home() as path:
        drill = Drill(
            path,
            node,
            VALMON_START_EPOCH="16",
            VALMON_BACKFILL__MAX_EPOCHS_PER_RUN="5",
            VALMON_RUNS__MAX_BACKFILL="2",
        )
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


def launch_backfill(up: Up, epochs: range) -> str:
    """Launch a backfill as the UI does; its id."""
    answer = up.ask(
        BACKFILL,
        {
            "names": [epoch_key(epoch) for epoch in epochs],
            "assets": [{"path": [NETWORK, table]} for table in EPOCH_TABLES],
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
