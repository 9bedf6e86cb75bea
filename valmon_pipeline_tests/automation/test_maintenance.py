"""Dagster's storage on a real PostgreSQL, filled by real runs, pruned; and when days are due."""

# No postponed annotations here: Dagster reads what an asset returns at definition time.
import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from valmon_pipeline.automation import dagster_pruning
from valmon_pipeline.automation.dagster_pruning import prune
from valmon_pipeline.automation.day_sensor import days_to_sum_up
from valmon_pipeline.errors import StorageError
from valmon_pipeline.partitions import (
    epoch_key,
    epoch_partitions,
    range_tags,
    register_epochs,
    registered_epochs,
)
from valmon_pipeline.storage.stored_days import StoredDay, day_of_epoch
from valmon_pipeline_tests.conftest import DEVNET

NETWORK = "testnet"
KEY = dg.AssetKey([NETWORK, "blocks"])
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def blocks_asset() -> dg.AssetsDefinition:
    """An asset with a check, many of whose partitions are made in one run."""

    @dg.asset(
        key=KEY,
        partitions_def=epoch_partitions(NETWORK),
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[dg.AssetCheckSpec("contract", asset=KEY)],
    )
    def blocks() -> Iterator[dg.MaterializeResult[None]]:
        yield dg.MaterializeResult(
            check_results=[dg.AssetCheckResult(passed=True, check_name="contract")]
        )

    return blocks


with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)
    BLOCKS = blocks_asset()


def materialize(instance: dg.DagsterInstance, *epochs: int) -> None:
    """A run over epochs that are neighbours in the registry."""
    register_epochs(instance, NETWORK, epochs)
    result = dg.materialize(
        [BLOCKS], instance=instance, tags=dict(range_tags(epochs)), run_config=QUIET
    )
    assert result.success


def shown(instance: dg.DagsterInstance) -> set[str]:
    """The partitions that the UI shows as materialized."""
    return set(instance.get_materialized_partitions(KEY))


def everything_before() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=5)


def test_old_runs_go_and_what_they_materialized_is_still_shown(
    instance: dg.DagsterInstance,
) -> None:
    materialize(instance, 5, 6, 7)
    materialize(instance, 7)
    before = instance.get_latest_materialization_event(KEY)
    pruned = prune(instance, NETWORK, older_than=everything_before(), first_epoch=None)
    assert pruned.runs == 2
    assert pruned.events > 20
    assert pruned.check_executions == 1
    assert instance.get_runs() == []
    assert shown(instance) == {epoch_key(epoch) for epoch in (5, 6, 7)}
    assert instance.get_latest_materialization_event(KEY) == before
    status = instance.get_status_by_partition(
        KEY, [epoch_key(epoch) for epoch in (5, 6, 7)], epoch_partitions(NETWORK)
    )
    assert status is not None
    assert {value.value for value in status.values() if value} == {"MATERIALIZED"}
    again = prune(instance, NETWORK, older_than=everything_before(), first_epoch=None)
    assert (again.runs, again.events, again.check_executions) == (0, 0, 0)
    materialize(instance, 6)
    assert len(instance.get_runs()) == 1


def test_recent_runs_and_those_that_go_on_stay(instance: dg.DagsterInstance) -> None:
    materialize(instance, 5)
    job = dg.Definitions(assets=[BLOCKS]).resolve_implicit_global_asset_job_def()
    going_on = instance.create_run_for_job(job, tags={"dagster/partition": epoch_key(5)})
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert prune(instance, NETWORK, older_than=hour_ago, first_epoch=None).runs == 0
    assert prune(instance, NETWORK, older_than=everything_before(), first_epoch=None).runs == 1
    assert [run.run_id for run in instance.get_runs()] == [going_on.run_id]


def test_runless_events_go_but_for_the_newest_materialization(
    instance: dg.DagsterInstance,
) -> None:
    for _ in range(3):
        instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition="0000009"))
        instance.report_runless_asset_event(dg.AssetObservation(KEY, partition="0000009"))
    pruned = prune(instance, NETWORK, older_than=everything_before(), first_epoch=None)
    assert pruned.events == 5
    assert shown(instance) == {"0000009"}


def test_keys_of_dropped_epochs_go_with_their_events(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    materialize(instance, *range(5, 10))
    old = datetime.now(UTC) - timedelta(days=1)
    pruned = prune(instance, NETWORK, older_than=old, first_epoch=7)
    assert pruned.epoch_keys == 2
    assert registered_epochs(instance, NETWORK) == [7, 8, 9]
    assert shown(instance) == {epoch_key(epoch) for epoch in (7, 8, 9)}
    monkeypatch.setattr(dagster_pruning, "MAX_EPOCH_KEYS", 1)
    assert prune(instance, NETWORK, older_than=old, first_epoch=None).epoch_keys == 2
    assert registered_epochs(instance, NETWORK) == [9]


def test_other_networks_keys_are_not_touched(instance: dg.DagsterInstance) -> None:
    register_epochs(instance, "other", [1, 2])
    register_epochs(instance, NETWORK, [1, 2])
    prune(instance, NETWORK, older_than=everything_before(), first_epoch=2)
    assert registered_epochs(instance, "other") == [1, 2]
    assert registered_epochs(instance, NETWORK) == [2]


def test_other_networks_events_are_not_touched_however_alike_their_names(
    instance: dg.DagsterInstance,
) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition="0000001"))
    register_epochs(instance, "test_et", [1, 2])
    prune(instance, "test_et", older_than=datetime.now(UTC) - timedelta(days=1), first_epoch=2)
    assert shown(instance) == {"0000001"}


def test_storage_that_is_not_postgres_is_refused() -> None:
    with (
        dg.DagsterInstance.ephemeral() as ephemeral,
        pytest.raises(StorageError, match="only PostgreSQL can be pruned"),
    ):
        prune(ephemeral, NETWORK, older_than=everything_before(), first_epoch=None)


DAY = day_of_epoch(DEVNET, 0) + timedelta(days=1)
LENGTH = 1800


MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


def a_day(
    number: int,
    epochs: int,
    *,
    summed_up: int = 0,
    is_final: bool = True,
    stored_at: datetime = MOMENT,
    is_stale: bool = False,
) -> StoredDay:
    day: date = DAY + timedelta(days=number)
    first = next(
        epoch
        for epoch in range(max(0, (number - 1) * LENGTH), (number + 4) * LENGTH)
        if day_of_epoch(DEVNET, epoch) == day
    )
    return StoredDay(day, epochs, first + epochs - 1, is_final, summed_up, stored_at, is_stale)


def due(*days: StoredDay, before: str | None = None) -> list[date]:
    seen = {} if before is None else {DAY.isoformat(): before}
    return [day.day for day in days_to_sum_up(days, DEVNET, seen)]


def test_a_day_is_due_when_it_is_over_final_and_complete() -> None:
    assert due(a_day(0, LENGTH), a_day(1, 3)) == [DAY]
    assert due(a_day(0, LENGTH)) == [DAY]
    assert due(a_day(0, LENGTH - 1)) == []
    assert due(a_day(0, LENGTH, is_final=False), a_day(1, 3)) == []
    assert due(a_day(0, LENGTH, summed_up=LENGTH), a_day(1, 3)) == []


def test_a_day_that_was_completed_later_is_due_again() -> None:
    assert due(a_day(0, LENGTH, summed_up=LENGTH - 4), a_day(1, 3)) == [DAY]


def test_a_day_with_gaps_waits_until_nobody_fills_them() -> None:
    gaps, later = a_day(0, 700), a_day(1, 3)
    assert due(gaps, later) == []
    assert due(gaps, later, before=f"650:{MOMENT.isoformat()}") == []
    assert due(gaps, later, before=f"700:{MOMENT.isoformat()}") == [DAY]


def test_a_day_that_is_partly_dropped_is_not_due() -> None:
    left = a_day(0, 700, summed_up=LENGTH, is_stale=True)
    assert due(left, a_day(1, 3), before=f"700:{MOMENT.isoformat()}") == []


def test_a_day_that_is_stored_again_waits_until_nobody_is_at_work_on_it() -> None:
    later, hour_ago = a_day(1, 3), (MOMENT - timedelta(hours=1)).isoformat()
    again = a_day(0, LENGTH, summed_up=LENGTH, is_stale=True)
    assert due(again, later) == []
    assert due(again, later, before=f"{LENGTH}:{hour_ago}") == []
    assert due(again, later, before=f"{LENGTH}:{MOMENT.isoformat()}") == [DAY]
