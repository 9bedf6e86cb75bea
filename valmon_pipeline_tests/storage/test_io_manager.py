"""The IO manager under real Dagster runs: what is stored, when, and what later steps are handed."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.errors import ContractViolationError, StorageError
from valmon_pipeline.storage.io_manager import LoadedTable, StepIOManager, StepTable
from valmon_pipeline.storage.step_frames import StepFrames, StoredStep
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.sample_frames import sample_frame

EPOCHS = dg.DynamicPartitionsDefinition(name="epoch_devnet")
TABLES = ("blocks", "network_epochs", "proposer_duties")


def step_of(epochs: list[int], seed: int = 1, **how: Any) -> StepFrames:
    return StepFrames(
        tuple(epochs),
        {
            table: pd.concat([sample_frame(table, epoch, seed=seed) for epoch in epochs])
            for table in TABLES
        },
        **how,
    )


def facts(seed: int = 1, **how: Any) -> dg.AssetsDefinition:
    """A step of three tables."""

    @dg.multi_asset(
        name="facts", outs={table: dg.AssetOut() for table in TABLES}, partitions_def=EPOCHS
    )
    def made(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[StepTable]]:
        step = step_of(sorted(map(int, context.partition_keys)), seed, **how)
        for table in TABLES:
            yield dg.MaterializeResult(asset_key=table, value=StepTable(step, table))

    return made


def reader(seen: list[LoadedTable]) -> dg.AssetsDefinition:
    """A later step, which keeps what it is handed."""

    @dg.asset(name="later", partitions_def=EPOCHS, ins={"blocks": dg.AssetIn()}, io_manager_key="n")
    def later(blocks: LoadedTable) -> None:
        seen.append(blocks)

    return later


class Nothing(dg.IOManager):
    """For an asset that is not stored."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None: ...

    def load_input(self, context: dg.InputContext) -> None: ...


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance in which epochs 10–13 were registered before 7–9."""
    with dg.DagsterInstance.ephemeral() as instance:
        for epochs in (range(10, 14), range(7, 10)):
            instance.add_dynamic_partitions(str(EPOCHS.name), [f"{epoch:07d}" for epoch in epochs])
        yield instance


def run(
    warehouse: Warehouse,
    instance: dg.DagsterInstance,
    assets: list[dg.AssetsDefinition],
    **options: Any,
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        assets,
        instance=instance,
        resources={"io_manager": StepIOManager(warehouse), "n": Nothing()},
        **options,
    )


def range_tags(first: int, last: int) -> dict[str, str]:
    return {
        "dagster/asset_partition_range_start": f"{first:07d}",
        "dagster/asset_partition_range_end": f"{last:07d}",
    }


def stored(warehouse: Warehouse, table: str = "blocks") -> list[int]:
    return sorted(set(warehouse.read(table, columns=["epoch"])["epoch"].tolist()))


def test_a_step_is_stored_whole_with_its_first_output(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    committed: list[tuple[StoredStep, set[str]]] = []

    def on_stored(done: StoredStep) -> None:
        assert instance.fetch_materializations(dg.AssetKey("blocks"), limit=1).records == []
        committed.append((done, {table for table in TABLES if stored(warehouse, table)}))

    result = run(warehouse, instance, [facts(on_stored=on_stored)], tags=range_tags(10, 12))
    ((done, tables),) = committed
    assert tables == set(TABLES)
    assert done.epochs == (10, 11, 12)
    pd.testing.assert_frame_equal(warehouse.read("blocks", epochs=[11]), sample_frame("blocks", 11))
    events = result.asset_materializations_for_node("facts")
    assert len(events) == 3 * len(TABLES)
    assert {event.metadata["dagster/row_count"].value for event in events} == {60, 3}


def test_if_a_table_is_refused_nothing_is_stored_or_reported(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    run(warehouse, instance, [facts()], tags=range_tags(10, 12))
    before = warehouse.read("blocks")

    @dg.multi_asset(
        name="facts", outs={table: dg.AssetOut() for table in TABLES}, partitions_def=EPOCHS
    )
    def broken() -> Iterator[dg.MaterializeResult[StepTable]]:
        step = step_of([10, 11, 12], seed=2)
        duties = step.tables["proposer_duties"]
        wrong = duties.assign(slot=np.where(duties["epoch"] == 11, -1, duties["slot"]))
        tables = {**step.tables, "proposer_duties": wrong.astype(duties.dtypes)}
        step = StepFrames(step.epochs, tables)
        for table in TABLES:
            yield dg.MaterializeResult(asset_key=table, value=StepTable(step, table))

    result = run(warehouse, instance, [broken], tags=range_tags(10, 12), raise_on_error=False)
    assert result.asset_materializations_for_node("facts") == []
    failure = result.failure_data_for_node("facts")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert "proposer_duties breaks its contract" in str(failure.user_failure_data.description)
    assert set(failure.user_failure_data.metadata) == {"epoch 11"}
    pd.testing.assert_frame_equal(warehouse.read("blocks"), before)


def test_a_later_step_of_the_run_is_handed_the_frames(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    seen: list[LoadedTable] = []
    run(warehouse, instance, [facts(), reader(seen)], tags=range_tags(10, 12))
    assert seen[0].step is not None
    assert seen[0].frame is seen[0].step.tables["blocks"]


def test_a_later_run_loads_them(warehouse: Warehouse, instance: dg.DagsterInstance) -> None:
    seen: list[LoadedTable] = []
    assets = [facts(), reader(seen)]
    run(warehouse, instance, assets, tags=range_tags(10, 12), selection=[*TABLES])
    run(warehouse, instance, assets, tags=range_tags(11, 12), selection=["later"])
    assert seen[-1].step is None
    assert sorted(set(seen[-1].frame["epoch"])) == [11, 12]


def test_a_range_that_wraps_around_stores_what_it_holds_and_nothing_between(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    """13…8 in order of registration is 13, 7, 8: BETWEEN would have taken 9 to 12 too."""
    seen: list[LoadedTable] = []
    run(warehouse, instance, [facts(), reader(seen)], tags=range_tags(13, 8))
    assert stored(warehouse) == [7, 8, 13]
    assert sorted(set(seen[0].frame["epoch"])) == [7, 8, 13]


def test_a_load_of_an_empty_range_fails(warehouse: Warehouse, instance: dg.DagsterInstance) -> None:
    """8…12 against the order of registration holds nothing; Dagster alone would call it success."""
    with pytest.raises(StorageError, match="holds no epochs of blocks"):
        run(warehouse, instance, [facts(), reader([])], tags=range_tags(8, 12), selection=["later"])


def test_tables_not_kept_by_epoch_are_stored_and_read_whole(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    @dg.asset
    def validators() -> pd.DataFrame:
        return sample_frame("validators")

    @dg.asset
    def validator_labels(validators: LoadedTable) -> pd.DataFrame:
        assert len(validators.frame) == 20
        return sample_frame("validator_labels")

    run(warehouse, instance, [validators, validator_labels])
    assert len(warehouse.read("validator_labels")) == 20


@pytest.mark.parametrize(("name", "value"), [("validators", 5), ("blocks", sample_frame("blocks"))])
def test_other_values_are_refused(
    warehouse: Warehouse, instance: dg.DagsterInstance, name: str, value: object
) -> None:
    @dg.asset(name=name)
    def wrong() -> object:
        return value

    with pytest.raises(ContractViolationError, match=f"{name}: expected a table of a step, got"):
        run(warehouse, instance, [wrong])
