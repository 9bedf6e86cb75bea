"""The asset ``epoch_history``: load a UTC day of history, from the Dagster UI by range of days.

The UI offers ranges for time windows only, and epoch keys are kept to a recent window. A day goes
through its epochs with the same functions into the same tables, one transaction per epoch.
"""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
import asyncio
from datetime import date
from typing import Final

import dagster as dg

from valmon_pipeline.assets.asset_graph import EPOCH_TABLES, asset_key
from valmon_pipeline.assets.loading import load_epochs
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.assets.standings import make_due_standings
from valmon_pipeline.partitions import day_partitions, epochs_of_day
from valmon_pipeline.reading.epoch_reader import EpochReader, newest_epoch_readable

EPOCH_HISTORY: Final = "epoch_history"
LOAD_HISTORY: Final = "load_history"
"""The job that materializes it."""


def history_asset(network: str, first_day: date) -> dg.AssetsDefinition:
    """The daily asset that fills the epoch tables with the epochs that start in a day."""

    @dg.asset(
        key=asset_key(network, EPOCH_HISTORY),
        group_name="history",
        partitions_def=day_partitions(first_day),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        required_resource_keys={"pipeline"},
        kinds={"postgres"},
        description=(
            "History by UTC day: materializing a day stores every epoch whose first slot starts in "
            f"it, in the tables {', '.join(EPOCH_TABLES)}. Epochs that are not final yet are left "
            "out and the day is marked as not complete."
        ),
    )
    def epoch_history(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        pipeline: Pipeline = context.resources.pipeline
        day = date.fromisoformat(context.partition_key)
        due, final = asyncio.run(_epochs_of(pipeline, day))
        if not final:
            raise dg.Failure(
                f"no epoch of {day} can be loaded: "
                + (f"none of {due.start}..{due.stop - 1} is final" if due else "none starts in it"),
                allow_retries=False,
            )
        outcome = load_epochs(
            pipeline.fact_reader(pipeline.warehouse),
            final,
            batch_epochs=pipeline.epochs_per_run,
            on_stored=lambda report: context.log.info(f"epoch {report.epoch} stored"),
        )
        for epoch, reason in sorted(outcome.failures.items()):
            context.log.error(f"epoch {epoch} failed: {reason}")
        made = make_due_standings(pipeline.warehouse, pipeline.standing_rules)
        pipeline.store_counts()
        if outcome.failures:
            raise dg.Failure(
                f"{len(outcome.failures)} of {len(final)} epochs of {day} failed, "
                "the others are stored",
                metadata={f"epoch {e}": why for e, why in sorted(outcome.failures.items())},
                allow_retries=False,
            )
        if made.failures:
            raise dg.Failure(
                f"the standings of {len(made.failures)} epochs break their contract and are still "
                "due",
                metadata={f"epoch {e}": why for e, why in sorted(made.failures.items())},
                allow_retries=False,
            )
        return dg.MaterializeResult(
            metadata={
                "epochs": len(final),
                "first_epoch": final[0],
                "last_epoch": final[-1],
                "complete": len(final) == len(due),
            }
        )

    return epoch_history


async def _epochs_of(pipeline: Pipeline, day: date) -> tuple[range, range]:
    """The epochs that start in a day, and those of them that are final."""
    async with pipeline.open_client() as client:
        reader = await EpochReader.open(client, pipeline.watch)
        due = epochs_of_day(reader.spec, reader.genesis.genesis_time, day)
        newest = newest_epoch_readable(await reader.finalized_epoch())
        return due, range(due.start, max(due.start, min(due.stop, newest + 1)))
