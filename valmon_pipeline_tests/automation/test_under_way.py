"""An epoch is in at most one queued or running run, in an instance as a service has it."""

from __future__ import annotations

import time
from datetime import date

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.tags import PARTITION_NAME_TAG

from valmon_pipeline.assets.asset_graph import EPOCH_TABLES, asset_key
from valmon_pipeline.assets.history import EPOCH_HISTORY, LOAD_HISTORY
from valmon_pipeline.assets.run_tags import CATCH_UP, COMPLETION, LIVE, NETWORK_TAG, WORK_TAG
from valmon_pipeline.automation.day_sensor import SUM_UP_DAYS
from valmon_pipeline.automation.under_way import cancel_superseded_runs
from valmon_pipeline.definitions import MATERIALIZE_EPOCHS
from valmon_pipeline.partitions import epoch_key, epochs_of_day, range_tags, register_epochs
from valmon_pipeline_tests.automation.service import Service, epochs_of
from valmon_pipeline_tests.conftest import DEVNET
from valmon_pipeline_tests.live_chain import LiveChain

UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


pytestmark = pytest.mark.filterwarnings(
    "ignore:Function `AssetSelection.sources` is deprecated:DeprecationWarning"
)
"""Dagster's own, where it makes a backfill."""


def request_backfill(service: Service, epochs: range, table: str = "blocks") -> PartitionBackfill:
    """A backfill as the UI requests it: the daemon has not launched anything of it."""
    register_epochs(service.instance, service.warehouse.schema, epochs)
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id=f"of{epochs.start}to{epochs.stop}",
        asset_graph=service.definitions.resolve_asset_graph(),
        partition_names=[epoch_key(epoch) for epoch in epochs],
        asset_selection=[asset_key(service.warehouse.schema, table)],
        backfill_timestamp=time.time(),
        tags={},
        dynamic_partitions_store=service.instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )
    service.instance.add_backfill(backfill)
    return backfill


@pytest.mark.parametrize("status", UNFINISHED)
def test_runs_that_have_not_ended_hold_their_epochs(
    service: Service, status: dg.DagsterRunStatus
) -> None:
    network = service.warehouse.schema
    register_epochs(service.instance, network, [7, 8, 9, 30, 31])
    service.run_with(range_tags([7, 8, 9]), status, assets=EPOCH_TABLES)
    service.run_with({PARTITION_NAME_TAG: epoch_key(31), NETWORK_TAG: network}, status)
    service.run_with({PARTITION_NAME_TAG: epoch_key(40), NETWORK_TAG: "another"}, status)
    assert service.under_way() == {7, 8, 9, 31}


@pytest.mark.parametrize(
    "status",
    [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
)
def test_runs_that_have_ended_hold_nothing(service: Service, status: dg.DagsterRunStatus) -> None:
    register_epochs(service.instance, service.warehouse.schema, [7, 8, 9])
    service.run_with(range_tags([7, 8, 9]), status, assets=EPOCH_TABLES)
    assert service.under_way() == set()


def test_a_range_is_what_was_registered_between_its_ends(service: Service) -> None:
    for epochs in ([10, 11], [3, 4], [12]):
        register_epochs(service.instance, service.warehouse.schema, epochs)
    service.run_with(range_tags([11, 12]), assets=EPOCH_TABLES)
    assert service.under_way() == {11, 3, 4, 12}


def test_days_that_are_loaded_hold_their_epochs_and_days_that_are_summed_up_none(
    service: Service,
) -> None:
    service.warehouse.bind_network(DEVNET)
    day = date(2023, 11, 15)
    tags = {PARTITION_NAME_TAG: day.isoformat(), NETWORK_TAG: service.warehouse.schema}
    service.run_with(tags, job=SUM_UP_DAYS)
    assert service.under_way() == set()
    service.run_with(tags, job=LOAD_HISTORY)
    epochs = set(epochs_of_day(DEVNET, DEVNET.genesis_time, day))
    assert len(epochs) == 1800
    assert service.under_way() == epochs
    following = {PARTITION_NAME_TAG: "2023-11-16"}
    service.run_with(following, job=LOAD_HISTORY, assets=[EPOCH_HISTORY])
    assert len(service.under_way()) == 3600


def test_a_backfill_holds_its_epochs_before_its_runs_are_launched(
    chain: LiveChain, service: Service
) -> None:
    chain.go_to(96)
    service.follow()
    chain.close_window(16)
    backfill = request_backfill(service, range(11, 15))
    assert service.under_way() == {11, 12, 13, 14}
    requests = service.tick("epoch_sensor").run_requests or []
    assert [epochs_of(request) for request in requests] == [[16], [15]]
    service.instance.update_backfill(backfill._replace(status=BulkActionStatus.CANCELED))
    assert service.under_way() == set()


def test_a_backfill_holds_what_it_has_not_made(service: Service) -> None:
    backfill = request_backfill(service, range(11, 15))
    data = backfill.asset_backfill_data
    assert data is not None
    made = request_backfill(service, range(11, 13)).asset_backfill_data
    failed = request_backfill(service, range(14, 15)).asset_backfill_data
    assert made is not None
    assert failed is not None
    for other in service.instance.get_backfills():
        service.instance.update_backfill(other._replace(status=BulkActionStatus.CANCELED))
    after = data._replace(
        materialized_subset=made.target_subset,
        failed_and_downstream_subset=failed.target_subset,
    )
    service.instance.update_backfill(
        backfill.with_asset_backfill_data(
            after, service.instance, service.definitions.resolve_asset_graph()
        )
    )
    assert service.under_way() == {13}


def test_queued_runs_give_way_to_what_somebody_asks_for(service: Service) -> None:
    network = service.warehouse.schema
    register_epochs(service.instance, network, range(5, 40))
    ours = {NETWORK_TAG: network}

    def run(work: str, *epochs: int, status: dg.DagsterRunStatus) -> str:
        return service.run_with({**range_tags(epochs), **ours, WORK_TAG: work}, status).run_id

    queued, started = dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED
    superseded = {
        run(CATCH_UP, *range(5, 10), status=queued),
        run(COMPLETION, 30, status=queued),
    }
    for work, epochs, status in (
        (CATCH_UP, (20, 21), queued),
        (CATCH_UP, (8, 9), started),
        (LIVE, (9,), queued),
    ):
        run(work, *epochs, status=status)
    assert cancel_superseded_runs(service.instance, network, None) != []
    service.run_with(range_tags([30, 31]), assets=EPOCH_TABLES)
    cancel_superseded_runs(service.instance, network, None)
    canceled = service.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.CANCELED]))
    assert {run.run_id for run in canceled} == superseded
    assert service.under_way() == {20, 21, 8, 9, 30, 31}


def test_a_backfill_of_epochs_that_are_queued_takes_them_over(
    chain: LiveChain, service: Service
) -> None:
    chain.go_to(96)
    service.follow()
    chain.close_window(15)
    requests = service.tick("epoch_sensor").run_requests or []
    assert [epochs_of(request) for request in requests] == [[15], [11, 12, 13, 14]]
    runs = [service.run_of(request) for request in requests]
    request_backfill(service, range(13, 18))
    assert service.tick("epoch_sensor").skip_message is not None
    canceled = service.instance.get_run_by_id(runs[1].run_id)
    assert canceled is not None
    assert canceled.status is dg.DagsterRunStatus.CANCELED
    assert service.under_way() == {13, 14, 15, 16, 17}


def test_every_job_that_makes_epochs_says_of_which_network(service: Service) -> None:
    for job in (MATERIALIZE_EPOCHS, LOAD_HISTORY):
        tags = service.definitions.resolve_job_def(job).run_tags
        assert tags[NETWORK_TAG] == service.warehouse.schema
