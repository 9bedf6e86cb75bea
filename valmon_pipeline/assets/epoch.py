"""The epoch's assets as Dagster sees them: one step that stores all tables of an epoch together,
then makes the standings that rest on it."""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
import logging
from collections.abc import Iterator

import dagster as dg

from valmon_pipeline.assets.asset_graph import CONTRACT_CHECK, EPOCH_ASSETS, STEP_ASSETS, asset_key
from valmon_pipeline.assets.materialization import EpochReport
from valmon_pipeline.assets.partition_metadata import add_partition_metadata
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.assets.run_record import RunRecord
from valmon_pipeline.assets.run_tags import COMPLETION, PROVISIONAL_TAG, REASON_TAG, WORK_TAG
from valmon_pipeline.assets.standings import make_due_standings
from valmon_pipeline.assets.standings_record import StandingsRecord
from valmon_pipeline.assets.watchdog import deadline_of, ended_by
from valmon_pipeline.epoch.checks import EPOCH_CHECKS
from valmon_pipeline.frames.tables import TABLES
from valmon_pipeline.partitions import (
    epoch_key,
    epoch_partitions,
    epochs_of_keys,
    registered_epochs,
)
from valmon_pipeline.storage.corrections import MATERIALIZED_AGAIN
from valmon_pipeline.storage.standings_due import STANDINGS

logger = logging.getLogger(__name__)


def epoch_assets(network: str, max_epochs_per_run: int) -> dg.AssetsDefinition:
    """The multi-asset ``epoch`` for a network.

    One step computes and stores every table of an epoch, in one transaction, so that no reader ever
    sees half an epoch. A run over many epochs stores them one after the other; if some fail, the
    others are stored and shown as materialized, and the run fails with a reason per epoch.

    Then the standings that are due are made, one epoch after the other: the run's own, those of
    later epochs whose window has one of these, and whatever an interrupted run has left.
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
            for table, (group, upstream) in STEP_ASSETS.items()
        ],
        check_specs=[
            *(
                dg.AssetCheckSpec(
                    CONTRACT_CHECK,
                    asset=asset_key(network, table),
                    description="Columns, types, ranges, NULLs and key of the table's contract; "
                    "a frame that breaks it is not stored.",
                )
                for table in STEP_ASSETS
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
        record, standings = RunRecord(network), StandingsRecord(network)

        def on_stored(report: EpochReport) -> None:
            record.add(report)
            pipeline.progress.stored(report)
            context.log.info(
                f"epoch {report.epoch} stored in {report.seconds:.2f} s, "
                f"{report.requests} requests, {'final' if report.finalized else 'provisional'}, "
                f"{report.corrections} corrections"
            )
            # What collectors of logs want to count by; the line above is for people.
            logger.info("epoch stored", extra={"run_id": context.run.run_id, **_log_fields(report)})

        def on_failed(failed_epoch: int, reason: str) -> None:
            pipeline.progress.failed(failed_epoch, reason)
            context.log.error(f"epoch {failed_epoch} failed: {reason}")

        materializer = pipeline.materializer(
            provisional=context.run.tags.get(PROVISIONAL_TAG) == "true",
            correction_reason=context.run.tags.get(REASON_TAG, MATERIALIZED_AGAIN),
            every_node=context.run.tags.get(WORK_TAG) == COMPLETION,
        )
        try:
            with ended_by(deadline_of(context.run, context.instance)):
                outcome = materializer.run(epochs, on_stored, on_failed)
                made = make_due_standings(
                    pipeline.warehouse, pipeline.standing_rules, standings.add, first=outcome.stored
                )
        except BaseException:
            # Interrupted, or no node is left: what is stored is shown as stored.
            for event in (*record.events({}), *standings.events({})):
                context.log_event(event)
            raise
        finally:
            pipeline.store_counts()
        others = sorted(standings.metadata.keys() - set(epochs))
        if others:
            context.log.info(f"standings of other epochs made, too: {others[0]} to {others[-1]}")
        if outcome.failures or made.failures:
            # A failing step yields no results of its own, so what succeeded is logged one by one.
            told = (*record.events(outcome.broken_contracts), *standings.events(made.failures))
            for event in told:
                context.log_event(event)
            raise dg.Failure(
                _what_failed(len(epochs), len(outcome.failures), len(made.failures)),
                metadata={
                    **{f"epoch {e}": why for e, why in sorted(outcome.failures.items())},
                    **{f"standings of epoch {e}": why for e, why in sorted(made.failures.items())},
                },
                allow_retries=False,
            )
        if others:
            # Not partitions of this run. Dagster knows the keys of a recent stretch only.
            known = set(others).intersection(registered_epochs(context.instance, network))
            for materialization in standings.materializations(known):
                context.log_event(materialization)
        add_partition_metadata(
            context,
            {
                asset_key(network, table): {
                    epoch_key(stored): by_epoch[stored] for stored in epochs if stored in by_epoch
                }
                for table, by_epoch in (record.metadata | {STANDINGS: standings.metadata}).items()
            },
        )
        for table in EPOCH_ASSETS:
            yield dg.MaterializeResult(
                asset_key=asset_key(network, table), check_results=record.check_results(table)
            )
        yield dg.MaterializeResult(
            asset_key=standings.key,
            check_results=[standings.check_result({})],
        )

    return epoch


def _log_fields(report: EpochReport) -> dict[str, object]:
    """What logs in JSON say of a stored epoch beside the message."""
    outcomes = report.described.get("attestation_outcomes", {})
    rewards = report.described.get("attestation_rewards", {})
    return {
        "epoch": report.epoch,
        "node": report.node,
        "finalized": report.finalized,
        "seconds": round(report.seconds, 3),
        "requests": report.requests,
        "corrections": report.corrections,
        "duties": outcomes.get("duties"),
        "missed": outcomes.get("missed"),
        "reward_gwei": rewards.get("earned_gwei"),
        "missing_facts": [source.fact.value for source in report.missing],
        "kept": report.kept,
    }


def _what_failed(epochs: int, failed: int, refused: int) -> str:
    parts = []
    if failed:
        parts.append(f"{failed} of {epochs} epochs failed, the others are stored")
    if refused:
        parts.append(f"the standings of {refused} epochs break their contract and are still due")
    return "; ".join(parts)
