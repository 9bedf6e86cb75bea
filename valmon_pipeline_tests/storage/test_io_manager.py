"""The IO manager under real Dagster runs: which epochs are stored and read, in which order."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.errors import ContractViolationError, StorageError
from valmon_pipeline.storage.io_manager import PostgresIOManager
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.sample_frames import sample_frame

EPOCHS = dg.DynamicPartitionsDefinition(name="epoch_devnet")


@dg.asset(name="blocks", partitions_def=EPOCHS)
def blocks(context: dg.AssetExecutionContext) -> pd.DataFrame:
    return pd.concat([sample_frame("blocks", int(key)) for key in context.partition_keys])


@dg.asset(
    name="proposer_duties",
    partitions_def=EPOCHS,
    ins={"blocks": dg.AssetIn(metadata={"columns": ["epoch", "slot"]})},
)
def proposer_duties(context: dg.AssetExecutionContext, blocks: pd.DataFrame) -> pd.DataFrame:
    assert blocks.columns.tolist() == ["epoch", "slot"]
    assert sorted(set(blocks["epoch"])) == sorted(map(int, context.partition_keys))
    assert blocks["epoch"].is_monotonic_increasing
    return pd.concat([sample_frame("proposer_duties", int(key)) for key in context.partition_keys])


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
        resources={"io_manager": PostgresIOManager(warehouse)},
        **options,
    )


def range_tags(first: int, last: int) -> dict[str, str]:
    return {
        "dagster/asset_partition_range_start": f"{first:07d}",
        "dagster/asset_partition_range_end": f"{last:07d}",
    }


def stored(warehouse: Warehouse, table: str) -> list[int]:
    return sorted(set(warehouse.read(table, columns=["epoch"])["epoch"].tolist()))


def test_each_epoch_asked_for_is_stored_whatever_the_order_of_registration(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    for epoch in range(12, 7, -1):
        run(warehouse, instance, [blocks, proposer_duties], partition_key=f"{epoch:07d}")
    assert stored(warehouse, "blocks") == [8, 9, 10, 11, 12]
    assert stored(warehouse, "proposer_duties") == [8, 9, 10, 11, 12]


def test_a_range_of_keys_stores_each_of_its_epochs(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    result = run(warehouse, instance, [blocks, proposer_duties], tags=range_tags(10, 12))
    assert stored(warehouse, "proposer_duties") == [10, 11, 12]
    pd.testing.assert_frame_equal(warehouse.read("blocks", epochs=[11]), sample_frame("blocks", 11))
    (event,) = result.asset_materializations_for_node("blocks")[:1]
    assert event.metadata["dagster/row_count"].value == 60
    assert event.metadata["epochs"].value == 3


def test_a_range_that_wraps_around_stores_what_it_holds_and_nothing_between(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    """13…8 in order of registration is 13, 7, 8: BETWEEN would have taken 9 to 12 too."""
    run(warehouse, instance, [blocks, proposer_duties], tags=range_tags(13, 8))
    assert stored(warehouse, "blocks") == [7, 8, 13]
    assert stored(warehouse, "proposer_duties") == [7, 8, 13]


def test_a_range_that_is_empty_fails(warehouse: Warehouse, instance: dg.DagsterInstance) -> None:
    """8…12 against the order of registration holds nothing; Dagster alone would call it success."""

    @dg.asset(name="blocks", partitions_def=EPOCHS)
    def nothing() -> pd.DataFrame:
        return sample_frame("blocks").head(0)

    with pytest.raises(StorageError, match="holds no epochs of blocks"):
        run(warehouse, instance, [nothing], tags=range_tags(8, 12))
    assert stored(warehouse, "blocks") == []


def test_an_epoch_without_rows_replaces_what_was_there(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    warehouse.replace_epoch(10, {"blocks": sample_frame("blocks", 10)})

    @dg.asset(name="blocks", partitions_def=EPOCHS)
    def only_eleven() -> pd.DataFrame:
        return sample_frame("blocks", 11)

    run(warehouse, instance, [only_eleven], tags=range_tags(10, 12))
    assert stored(warehouse, "blocks") == [11]


def streaming(pieces: list[tuple[int, pd.DataFrame]]) -> dg.AssetsDefinition:
    @dg.asset(name="blocks", partitions_def=EPOCHS)
    def streamed() -> dg.Output[Any]:
        return dg.Output(iter(pieces))

    return streamed


def test_epochs_may_be_streamed(warehouse: Warehouse, instance: dg.DagsterInstance) -> None:
    pieces = [(epoch, sample_frame("blocks", epoch)) for epoch in (12, 10, 11)]
    run(warehouse, instance, [streaming(pieces)], tags=range_tags(10, 12))
    assert stored(warehouse, "blocks") == [10, 11, 12]


@pytest.mark.parametrize(
    ("epochs", "complaint", "kept"),
    [
        ([10, 12], "produced nothing for: .11.", [10, 12]),
        ([10, 13, 11], "does not hold, or holds once only: .13.", [10]),
        ([10, 11, 10, 12], "holds once only: .10.", [10, 11]),
    ],
)
def test_a_stream_must_hold_each_epoch_of_the_run_once(
    warehouse: Warehouse,
    instance: dg.DagsterInstance,
    epochs: list[int],
    complaint: str,
    kept: list[int],
) -> None:
    pieces = [(epoch, sample_frame("blocks", epoch)) for epoch in epochs]
    with pytest.raises(ContractViolationError, match=complaint):
        run(warehouse, instance, [streaming(pieces)], tags=range_tags(10, 12))
    assert stored(warehouse, "blocks") == kept


def test_rows_of_other_epochs_are_refused(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    @dg.asset(name="blocks", partitions_def=EPOCHS)
    def wrong() -> pd.DataFrame:
        return sample_frame("blocks", 11)

    with pytest.raises(ContractViolationError, match=r"does not hold.* \[11\]"):
        run(warehouse, instance, [wrong], partition_key="0000010")


def test_a_broken_frame_fails_the_run_and_leaves_what_was_stored(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    warehouse.replace_epoch(10, {"blocks": sample_frame("blocks", 10)})

    @dg.asset(name="blocks", partitions_def=EPOCHS)
    def broken() -> pd.DataFrame:
        frame = sample_frame("blocks", 10, seed=2)
        return frame.assign(slot=np.int32(-1))

    with pytest.raises(ContractViolationError, match="column slot: at least 0: 20 failing"):
        run(warehouse, instance, [broken], partition_key="0000010")
    pd.testing.assert_frame_equal(warehouse.read("blocks"), sample_frame("blocks", 10))


def test_tables_not_kept_by_epoch_are_stored_and_read_whole(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    @dg.asset
    def validators() -> pd.DataFrame:
        return sample_frame("validators")

    @dg.asset(ins={"validators": dg.AssetIn(metadata={"columns": ["pubkey"]})})
    def validator_labels(validators: pd.DataFrame) -> pd.DataFrame:
        assert validators.columns.tolist() == ["pubkey"]
        assert len(validators) == 20
        return sample_frame("validator_labels")

    run(warehouse, instance, [validators, validator_labels])
    assert len(warehouse.read("validator_labels")) == 20


def test_what_is_no_frame_is_refused(warehouse: Warehouse, instance: dg.DagsterInstance) -> None:
    @dg.asset
    def validators() -> int:
        return 5

    with pytest.raises(ContractViolationError, match="expected a DataFrame, got int"):
        run(warehouse, instance, [validators])


def test_an_epoch_table_without_partitions_is_refused(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    @dg.asset(name="blocks")
    def unpartitioned() -> pd.DataFrame:
        return sample_frame("blocks")

    with pytest.raises(StorageError, match="holds no epochs of blocks"):
        run(warehouse, instance, [unpartitioned])


def test_a_key_may_stand_for_a_day_of_epochs(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    days = dg.StaticPartitionsDefinition(["2026-11-20", "2026-11-21"])

    @dg.asset(name="blocks", partitions_def=days)
    def day_of_blocks() -> pd.DataFrame:
        return pd.concat([sample_frame("blocks", epoch) for epoch in (8, 9)])

    dg.materialize(
        [day_of_blocks],
        instance=instance,
        partition_key="2026-11-21",
        resources={
            "io_manager": PostgresIOManager(
                warehouse, epochs_of_key={"2026-11-21": [8, 9]}.__getitem__
            )
        },
    )
    assert stored(warehouse, "blocks") == [8, 9]
