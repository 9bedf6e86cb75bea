"""The asset ``validator_day_summaries``: a UTC day of each validator in one row.

It is made from stored facts and is what remains when retention drops them.
"""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
from datetime import date

import dagster as dg

from valmon_pipeline.assets.asset_graph import asset_key
from valmon_pipeline.assets.day_sums import day_summaries_frame
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.frames.tables import TABLES
from valmon_pipeline.partitions import day_partitions, epochs_of_day
from valmon_pipeline.scoring.facts import FACT_COLUMNS
from valmon_pipeline.storage.stored_days import DAY_SUMMARIES, replace_day
from valmon_pipeline.storage.summed_days import newest_stored_at
from valmon_pipeline.storage.warehouse import Warehouse

_SUMMED_UP = (*FACT_COLUMNS, "network_epochs")


def day_summaries_asset(network: str, first_day: date) -> dg.AssetsDefinition:
    """The daily asset that sums up the stored epochs of a day."""

    @dg.asset(
        key=asset_key(network, DAY_SUMMARIES),
        group_name="scores",
        partitions_def=day_partitions(first_day),
        # The default mapping would look for an epoch with the key of a day.
        deps=[
            dg.AssetDep(asset_key(network, table), partition_mapping=dg.AllPartitionMapping())
            for table in _SUMMED_UP
        ],
        backfill_policy=dg.BackfillPolicy.multi_run(31),
        required_resource_keys={"pipeline"},
        kinds={"postgres"},
        description=TABLES[DAY_SUMMARIES].description,
        metadata={"dagster/table_name": f"{network}.{DAY_SUMMARIES}"},
    )
    def validator_day_summaries(context: dg.AssetExecutionContext) -> None:
        pipeline: Pipeline = context.resources.pipeline
        for key in sorted(context.partition_keys):
            summary = sum_up_day(pipeline.warehouse, date.fromisoformat(key))
            context.add_asset_metadata(summary, partition_key=key)

    return validator_day_summaries


def sum_up_day(warehouse: Warehouse, day: date) -> dict[str, int | bool]:
    """Sum up what is stored of a day and store the sums; what there is to tell about them.

    Raises:
        dagster.Failure: nothing of the day is stored.
        StorageError: the database refuses, or the day is summed up already with more epochs.
    """
    network = warehouse.network()
    due = epochs_of_day(network, network.genesis_time, day) if network is not None else range(0)
    stored_at = newest_stored_at(warehouse, due)
    frame = day_summaries_frame(warehouse, day, due)
    if frame.empty or stored_at is None:
        raise dg.Failure(
            f"no epoch of {day} is stored: its epochs are {due.start} to {due.stop - 1}"
            if due
            else f"no epoch starts on {day}",
            allow_retries=False,
        )
    rows = replace_day(warehouse, day, frame, stored_at)
    return {
        "dagster/partition_row_count": rows,
        "epochs": int(frame["epochs"].iloc[0]),
        "complete": bool(frame["complete"].iloc[0]),
        "incomplete_epochs": int(frame["incomplete_epochs"].iloc[0]),
        "finalized": bool(frame["finalized"].iloc[0]),
    }
