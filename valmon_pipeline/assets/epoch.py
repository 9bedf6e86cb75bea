"""The epoch's assets as Dagster sees them: one step that stores all tables of an epoch together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import dagster as dg

from valmon_pipeline.assets.checks import EPOCH_CHECKS, MAX_EXAMPLES, CheckResult
from valmon_pipeline.assets.materialization import EpochReport, RunOutcome
from valmon_pipeline.assets.metadata import epoch_metadata
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.frames.tables import TABLES
from valmon_pipeline.partitions import epoch_key, epoch_partitions, epochs_of_keys

# Table to (asset group, tables it is computed from): the lineage picture, left to right.
EPOCH_ASSETS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "blocks": ("chain", ()),
    "validator_snapshots": ("validators", ()),
    "attestation_duties": ("duties", ("validator_snapshots",)),
    "proposer_duties": ("duties", ("blocks",)),
    "sync_duties": ("duties", ("blocks",)),
    "attestation_outcomes": ("performance", ("attestation_duties", "blocks")),
    "attestation_rewards": ("rewards", ("attestation_outcomes", "validator_snapshots")),
    "block_rewards": ("rewards", ("proposer_duties",)),
    "sync_rewards": ("rewards", ("sync_duties",)),
    "effectiveness_scores": (
        "scores",
        ("attestation_outcomes", "attestation_rewards", "proposer_duties", "sync_duties"),
    ),
    "network_epochs": ("scores", ("blocks", "attestation_outcomes", "validator_snapshots")),
}
CONTRACT_CHECK: Final = "contract"


def epoch_assets(network: str, max_epochs_per_run: int) -> dg.AssetsDefinition:
    """The multi-asset ``epoch`` for a network.

    One step computes and stores every table of an epoch, in one transaction, so that no reader ever sees
    half an epoch. A run over many epochs stores them one after the other; if some fail, the others are
    stored and shown as materialized, and the run fails with a reason per epoch.
    """

    @dg.multi_asset(
        name="epoch",
        specs=[
            dg.AssetSpec(
                table,
                group_name=group,
                deps=upstream,
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
                    asset=table,
                    description="Columns, types, ranges, NULLs and key of the table's contract; "
                    "a frame that breaks it is not stored.",
                )
                for table in EPOCH_ASSETS
            ),
            *(
                dg.AssetCheckSpec(check.name, asset=check.asset, description=check.description)
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
                "this run holds no epochs: its range of partition keys runs against the order in which "
                "they were registered; launch it by explicit keys or with `valmon backfill`",
                allow_retries=False,
            )
        pipeline: Pipeline = context.resources.pipeline
        outcome = pipeline.materializer().run(
            epochs,
            on_stored=lambda report: context.log.info(
                f"epoch {report.epoch} stored in {report.seconds:.2f} s from {report.requests} requests"
            ),
            on_failed=lambda epoch, reason: context.log.error(f"epoch {epoch} failed: {reason}"),
        )
        if outcome.failures:
            _report_what_succeeded(context, outcome)
            raise dg.Failure(
                f"{len(outcome.failures)} of {len(epochs)} epochs failed, the others are stored",
                metadata={
                    f"epoch {epoch}": reason for epoch, reason in sorted(outcome.failures.items())
                },
                allow_retries=False,
            )
        for table in EPOCH_ASSETS:
            for report in outcome.reports:
                context.add_asset_metadata(
                    epoch_metadata(report, table), table, epoch_key(report.epoch)
                )
        for table in EPOCH_ASSETS:
            yield dg.MaterializeResult(
                asset_key=table, check_results=list(_check_results(table, outcome.reports))
            )

    return epoch


def _report_what_succeeded(context: dg.AssetExecutionContext, outcome: RunOutcome) -> None:
    """Log materializations and checks one by one: a failing step yields no results of its own."""
    for report in outcome.reports:
        for table in EPOCH_ASSETS:
            context.log_event(
                dg.AssetMaterialization(
                    table, partition=epoch_key(report.epoch), metadata=epoch_metadata(report, table)
                )
            )
    for table in EPOCH_ASSETS:
        broken = {
            epoch: reason
            for epoch, reason in outcome.failures.items()
            if reason.startswith(f"{table}:") or reason.startswith(f"{table}.")
        }
        results = [
            result
            for result in _check_results(table, outcome.reports)
            if not (broken and result.check_name == CONTRACT_CHECK)
        ]
        if broken:
            results.append(
                dg.AssetCheckResult(
                    passed=False,
                    asset_key=dg.AssetKey(table),
                    check_name=CONTRACT_CHECK,
                    description=next(iter(broken.values())),
                    metadata={"epochs": str(sorted(broken)), "failing_epochs": len(broken)},
                )
            )
        for result in results:
            assert result.check_name is not None
            context.log_event(
                dg.AssetCheckEvaluation(
                    asset_key=dg.AssetKey(table),
                    check_name=result.check_name,
                    passed=result.passed,
                    severity=result.severity,
                    description=result.description,
                    metadata=result.metadata,
                )
            )


def _check_results(table: str, reports: Sequence[EpochReport]) -> Iterator[dg.AssetCheckResult]:
    """One result per check of a table over all epochs of the run."""
    yield dg.AssetCheckResult(
        passed=True,
        asset_key=dg.AssetKey(table),
        check_name=CONTRACT_CHECK,
        metadata={
            "epochs": len(reports),
            "rows": sum(len(report.frames.tables[table]) for report in reports),
        },
    )
    for check in EPOCH_CHECKS:
        if check.asset != table:
            continue
        results = [
            result
            for report in reports
            for result in report.frames.checks
            if (result.asset, result.name) == (check.asset, check.name)
        ]
        yield _summary(results, check.name, table)


def _summary(results: Sequence[CheckResult], name: str, table: str) -> dg.AssetCheckResult:
    failed = [result for result in results if not result.passed]
    examples = [
        dg.TableRecord({"epoch": result.epoch, **{str(k): str(v) for k, v in row.items()}})
        for result in failed
        for row in result.offenders.head(MAX_EXAMPLES).to_dict("records")
    ][:MAX_EXAMPLES]
    return dg.AssetCheckResult(
        passed=not failed,
        asset_key=dg.AssetKey(table),
        check_name=name,
        description=f"epoch {failed[0].epoch}: {failed[0].detail}" if failed else None,
        metadata={
            "epochs": len(results),
            "rows_compared": sum(result.checked for result in results),
            "failing_rows": sum(len(result.offenders) for result in results),
            **({"failing_epochs": str([result.epoch for result in failed])} if failed else {}),
            **({"examples": dg.MetadataValue.table(records=examples)} if examples else {}),
        },
    )
