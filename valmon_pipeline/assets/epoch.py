"""The epoch's assets as Dagster sees them: one step that stores all tables of an epoch together."""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
from collections.abc import Iterator

import dagster as dg

from valmon_pipeline.assets.asset_graph import CONTRACT_CHECK, EPOCH_ASSETS, asset_key
from valmon_pipeline.assets.checks import EPOCH_CHECKS
from valmon_pipeline.assets.materialization import EpochReport
from valmon_pipeline.assets.partition_metadata import add_partition_metadata
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.assets.run_record import RunRecord
from valmon_pipeline.assets.run_tags import PROVISIONAL_TAG, REASON_TAG
from valmon_pipeline.frames.tables import TABLES
from valmon_pipeline.partitions import epoch_key, epoch_partitions, epochs_of_keys
from valmon_pipeline.storage.corrections import MATERIALIZED_AGAIN


def epoch_assets(network: str, max_epochs_per_run: int) -> dg.AssetsDefinition:
    """The multi-asset ``epoch`` for a network.

    One step computes and stores every table of an epoch, in one transaction, so that no reader ever
    sees half an epoch. A run over many epochs stores them one after the other; if some fail, the
    others are stored and shown as materialized, and the run fails with a reason per epoch.
    """

    @dg.multi_asset(
        name="epoch",
        specs=[
            dg.AssetSpec(
                asset_key(network, table),
                group_name=group,
                deps=[asset_key(network, name) for name in upstream],
                description=TABLES[table].description,
                kinds={"postgres"},
                metadata={"dagster/table_name": f"{network}.{table}"},
            )
            for table, (group, upstream) in EPOCH_ASSETS.items()
        ],
        check_specs=[
            *(
                dg.AssetCheckSpec(
                    CONTRACT_CHECK,
                    asset=asset_key(network, table),
                    description="Columns, types, ranges, NULLs and key of the table's contract; "
                    "a frame that breaks it is not stored.",
                )
                for table in EPOCH_ASSETS
            ),
            *(
                dg.AssetCheckSpec(
                    check.name,
                    asset=asset_key(network, check.asset),
                    description=check.description,
                )
                for check in EPOCH_CHECKS
            ),
        ],
        partitions_def=epoch_partitions(network),
        backfill_policy=dg.BackfillPolicy.multi_run(max_epochs_per_run),
        required_resource_keys={"pipeline"},
    )
    def epoch(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        epochs = epochs_of_keys(context.partition_keys)
        if not epochs:
            raise dg.Failure(
                "this run holds no epochs: its range of partition keys runs against the order in "
                "which they were registered; launch it by explicit keys or with `valmon backfill`",
                allow_retries=False,
            )
        pipeline: Pipeline = context.resources.pipeline
        record = RunRecord(network)

        def on_stored(report: EpochReport) -> None:
            record.add(report)
            pipeline.progress.stored(report)
            context.log.info(
                f"epoch {report.epoch} stored in {report.seconds:.2f} s, "
                f"{report.requests} requests, {'final' if report.finalized else 'provisional'}, "
                f"{report.corrections} corrections"
            )

        def on_failed(failed_epoch: int, reason: str) -> None:
            pipeline.progress.failed(failed_epoch, reason)
            context.log.error(f"epoch {failed_epoch} failed: {reason}")

        materializer = pipeline.materializer(
            provisional=context.run.tags.get(PROVISIONAL_TAG) == "true",
            correction_reason=context.run.tags.get(REASON_TAG, MATERIALIZED_AGAIN),
        )
        try:
            outcome = materializer.run(epochs, on_stored, on_failed)
        except BaseException:
            # Interrupted, or no node is left: what is stored is shown as stored.
            for event in record.events({}):
                context.log_event(event)
            raise
        if outcome.failures:
            # A failing step yields no results of its own, so what succeeded is logged one by one.
            for event in record.events(outcome.broken_contracts):
                context.log_event(event)
            raise dg.Failure(
                f"{len(outcome.failures)} of {len(epochs)} epochs failed, the others are stored",
                metadata={
                    f"epoch {failed}": reason for failed, reason in sorted(outcome.failures.items())
                },
                allow_retries=False,
            )
        add_partition_metadata(
            context,
            {
                asset_key(network, table): {
                    epoch_key(stored): metadata for stored, metadata in by_epoch.items()
                }
                for table, by_epoch in record.metadata.items()
            },
        )
        for table in EPOCH_ASSETS:
            yield dg.MaterializeResult(
                asset_key=asset_key(network, table), check_results=record.check_results(table)
            )

    return epoch
