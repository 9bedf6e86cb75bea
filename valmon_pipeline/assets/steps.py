"""The steps of an epoch as Dagster runs them: ``facts``, ``scores`` and ``standings``."""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
import logging
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import dagster as dg

from valmon_pipeline.assets.asset_graph import (
    CONTRACT_CHECK,
    FACT_TABLES,
    LINEAGE,
    SCORE_TABLES,
    asset_key,
)
from valmon_pipeline.assets.check_summaries import broken_contract, check_results, contract_result
from valmon_pipeline.assets.fact_batch import EpochReport
from valmon_pipeline.assets.metadata import Metadata
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.assets.run_tags import COMPLETION, PROVISIONAL_TAG, REASON_TAG, WORK_TAG
from valmon_pipeline.assets.score_batch import (
    FACTS_TAKEN,
    LABELS,
    handed_facts,
    rescore_reason,
    score_batch,
    stored_facts,
)
from valmon_pipeline.assets.standings import (
    StandingsOutcome,
    make_due_standings,
    standing_batches,
)
from valmon_pipeline.assets.watchdog import deadline_of, ended_by
from valmon_pipeline.dagster_adapter.partition_metadata import add_partition_metadata
from valmon_pipeline.epoch.checks import FACT_CHECKS, SCORE_CHECKS, CheckResult, EpochCheck
from valmon_pipeline.errors import ContractViolationError, EpochsFailedError
from valmon_pipeline.partitions import (
    epoch_key,
    epoch_partitions,
    epochs_of_keys,
    registered_epochs,
)
from valmon_pipeline.scoring.effectiveness import FORMULA_VERSION
from valmon_pipeline.storage.io_manager import (
    LoadedTable,
    StepIOManager,
    StepTable,
    contract_failure,
)
from valmon_pipeline.storage.standings_due import MATERIALIZED_AGAIN, STANDINGS
from valmon_pipeline.storage.step_frames import FactStep, StepFrames, StepStore, StoredStep

logger = logging.getLogger(__name__)

FRAMES: Final = "frames"
"""The key of the IO manager."""


def step_assets(network: str, max_epochs_per_run: int) -> list[dg.AssetsDefinition]:
    """The three steps of a network. A run of them is a batch of epochs; a step is a transaction.

    ``facts`` reads a node. ``scores`` and ``standings`` need none: they are made from what is
    stored, or in the same run from what the step before has made.
    """
    shared = {
        "partitions_def": epoch_partitions(network),
        "backfill_policy": dg.BackfillPolicy.multi_run(max_epochs_per_run),
        "required_resource_keys": {"pipeline", FRAMES},
    }
    return [_facts(network, shared), _scores(network, shared), _standings(network, shared)]


def _facts(network: str, shared: Mapping[str, Any]) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name="facts",
        outs={table: _out(network, table, "facts") for table in FACT_TABLES},
        internal_asset_deps={table: _made_from(network, table) for table in FACT_TABLES},
        check_specs=_check_specs(network, FACT_TABLES, FACT_CHECKS),
        **shared,
    )
    def facts(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[StepTable]]:
        epochs = _epochs(context)
        pipeline: Pipeline = context.resources.pipeline
        tags = context.run.tags

        def on_stored(reports: Sequence[EpochReport], stored: StoredStep) -> None:
            context.log.info(_what_was_stored(stored))
            pipeline.progress.stored("facts", stored)
            for report in reports:
                # What collectors of logs count by; the line above is for people.
                fields = {"run_id": context.run.run_id, **_log_fields(report, stored)}
                logger.info("epoch stored", extra=fields)

        reader = pipeline.fact_reader(
            _store(context),
            provisional=tags.get(PROVISIONAL_TAG) == "true",
            reason=tags.get(REASON_TAG, MATERIALIZED_AGAIN),
            every_node=tags.get(WORK_TAG) == COMPLETION,
            on_stored=on_stored,
        )
        # What is yielded is stored before the next line is reached: within the limits, too.
        with _within_limits(context) as storing:
            batch = reader.read(epochs)
            storing()
            described = {
                table: {report.epoch: _described(report, table) for report in batch.reports}
                for table in FACT_TABLES
            }
            _add_metadata(context, network, described)
            checks = [check for report in batch.reports for check in report.checks]
            yield from _results(context, network, batch.step, FACT_TABLES, FACT_CHECKS, checks)
            pipeline.store_counts()

    return facts


def _scores(network: str, shared: Mapping[str, Any]) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name="scores",
        can_subset=True,
        outs={
            table: _out(network, table, "scores", code_version=str(FORMULA_VERSION))
            for table in SCORE_TABLES
        },
        ins={
            table: dg.AssetIn(asset_key(network, table), input_manager_key=FRAMES)
            for table in (*FACTS_TAKEN, LABELS)
        },
        internal_asset_deps={table: _made_from(network, table) for table in SCORE_TABLES},
        check_specs=_check_specs(network, SCORE_TABLES, SCORE_CHECKS),
        **shared,
    )
    def scores(
        context: dg.AssetExecutionContext, **taken: LoadedTable
    ) -> Iterator[dg.MaterializeResult[StepTable]]:
        epochs = _epochs(context)
        pipeline: Pipeline = context.resources.pipeline
        labels = taken.pop(LABELS).frame
        step = taken["network_epochs"].step
        with _within_limits(context) as storing:
            storing()
            if isinstance(step, FactStep):
                facts = handed_facts(step.parts)
                reason = step.reason
            else:
                frames = {table: loaded.frame for table, loaded in taken.items()}
                facts = stored_facts(_store(context), epochs, frames)
                reason = context.run.tags.get(REASON_TAG, rescore_reason())
            chosen = context.op_execution_context.selected_output_names
            wanted = [table for table in SCORE_TABLES if table in chosen]
            batch = score_batch(
                facts,
                labels,
                reason=reason,
                wanted=wanted,
                on_stored=partial(pipeline.progress.stored, "scores"),
            )
            described = {
                table: {epoch: tables[table] for epoch, tables in batch.described.items()}
                for table in wanted
            }
            _add_metadata(context, network, described)
            yield from _results(context, network, batch.step, wanted, SCORE_CHECKS, batch.checks)

    return scores


def _standings(network: str, shared: Mapping[str, Any]) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name="standings",
        outs={STANDINGS: _out(network, STANDINGS, "scores", code_version=str(FORMULA_VERSION))},
        # They are made from a window of epochs, which the step reads itself.
        deps=[asset_key(network, table) for table in LINEAGE[STANDINGS]],
        check_specs=_check_specs(network, (STANDINGS,), ()),
        **shared,
    )
    def standings(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[StepTable]]:
        epochs = _epochs(context)
        pipeline: Pipeline = context.resources.pipeline
        store, rules = _store(context), pipeline.standing_rules
        told = partial(pipeline.progress.stored, "standings")
        with _within_limits(context) as storing:
            storing()
            # Epochs of other runs whose window has one of these, and what a killed run has left.
            others = make_due_standings(store, rules, but=epochs, on_stored=told)
            _log_others(context, network, others)
            absent = set(epochs).difference(store.scored_epochs(epochs[0], epochs[-1]))
            if absent:
                raise EpochsFailedError(
                    f"the scores of {len(absent)} of {len(epochs)} epochs are not stored",
                    dict.fromkeys(
                        sorted(absent), "its scores are not stored: materialize scores first"
                    ),
                )
            due = store.list_standings(epochs)
            # One batch: what a run holds is bounded.
            [batch] = standing_batches(store, rules, due, rows_at_once=sys.maxsize, on_stored=told)
            _add_metadata(context, network, {STANDINGS: batch.described})
            yield from _results(context, network, batch.step, (STANDINGS,), (), ())

    return standings


def _out(network: str, table: str, group: str, *, code_version: str | None = None) -> dg.AssetOut:
    return dg.AssetOut(
        key=asset_key(network, table),
        io_manager_key=FRAMES,
        is_required=False,
        code_version=code_version,
        group_name=group,
    )


def _made_from(network: str, table: str) -> set[dg.AssetKey]:
    return {asset_key(network, name) for name in LINEAGE[table]}


def _check_specs(
    network: str, tables: Collection[str], checks: Collection[EpochCheck]
) -> list[dg.AssetCheckSpec]:
    contract_specs = [
        dg.AssetCheckSpec(
            CONTRACT_CHECK,
            asset=asset_key(network, table),
            description="Data: columns, types, ranges, NULLs and key of the table's contract; "
            "a frame that breaks it is not stored.",
        )
        for table in tables
    ]
    return contract_specs + [
        dg.AssetCheckSpec(
            check.name,
            asset=asset_key(network, check.asset),
            description=f"Data: {check.description}",
        )
        for check in checks
    ]


def _epochs(context: dg.AssetExecutionContext) -> list[int]:
    epochs = epochs_of_keys(context.partition_keys)
    if not epochs:
        raise dg.Failure(
            "this run holds no epochs: its range of partition keys runs against the order in "
            "which they were registered; launch it by explicit keys or with `valmon backfill`",
            allow_retries=False,
        )
    return epochs


def _store(context: dg.AssetExecutionContext) -> StepStore:
    manager: StepIOManager = getattr(context.resources, FRAMES)
    return manager.store


@contextmanager
def _within_limits(context: dg.AssetExecutionContext) -> Iterator[Callable[[], None]]:
    """Within this context the run's deadline is kept, and epochs that fail are named in the step's
    failure: nothing of the batch is stored. Gives what ``ended_by`` gives."""
    try:
        with ended_by(deadline_of(context.run, context.instance)) as storing:
            yield storing
    except EpochsFailedError as error:
        for epoch, reason in sorted(error.reasons.items()):
            context.log.error(f"epoch {epoch} failed: {reason}")
        raise dg.Failure(
            f"{error}; nothing of this run is stored",
            metadata={f"epoch {epoch}": why for epoch, why in sorted(error.reasons.items())},
            allow_retries=False,
        ) from error


def _add_metadata(
    context: dg.AssetExecutionContext,
    network: str,
    described: Mapping[str, Mapping[int, Metadata]],
) -> None:
    add_partition_metadata(
        context,
        {
            asset_key(network, table): {
                epoch_key(epoch): metadata for epoch, metadata in by_epoch.items()
            }
            for table, by_epoch in described.items()
        },
    )


def _results(
    context: dg.AssetExecutionContext,
    network: str,
    step: StepFrames,
    tables: Collection[str],
    checks: Collection[EpochCheck],
    results: Sequence[CheckResult],
) -> Iterator[dg.MaterializeResult[StepTable]]:
    """One result per table; the first stores them all. A broken contract fails its check."""
    try:
        step.validated  # noqa: B018 - kept for whoever stores the step
    except ContractViolationError as error:
        if error.table is not None and error.table in tables:
            context.log_event(broken_contract(asset_key(network, error.table), error))
        raise contract_failure(step, error) from error
    for table in tables:
        key = asset_key(network, table)
        yield dg.MaterializeResult(
            asset_key=key,
            value=StepTable(step, table),
            check_results=[
                contract_result(key, step, table),
                *check_results(key, table, checks, results),
            ],
        )


def _described(report: EpochReport, table: str) -> Metadata:
    return {
        **report.described.get(table, {}),
        "node": report.node,
        "epoch_seconds": round(report.seconds, 3),
        "epoch_requests": report.requests,
        "epoch_bytes_received": report.bytes_received,
        **({"unknown_validators": str(list(report.unknown_ids))} if report.unknown_ids else {}),
    }


def _what_was_stored(stored: StoredStep) -> str:
    parts = [f"{len(stored.epochs)} epochs stored, {stored.corrections} corrections"]
    if stored.left_out:
        parts.append(f"{len(stored.left_out)} are stored with more facts already and stay so")
    return "; ".join(parts)


def _log_others(context: dg.AssetExecutionContext, network: str, others: StandingsOutcome) -> None:
    """Standings of epochs that are not partitions of this run, as events of their own."""
    for epoch, reason in sorted(others.failures.items()):
        context.log.error(f"the standings of epoch {epoch} are still due: {reason}")
    if not others.described:
        return
    context.log.info(
        f"standings of other epochs made, too: {min(others.made)} to {max(others.made)}"
    )
    # Dagster knows the keys of a recent stretch only.
    known = others.made.intersection(registered_epochs(context.instance, network))
    for epoch in sorted(known):
        context.log_event(
            dg.AssetMaterialization(
                asset_key(network, STANDINGS),
                partition=epoch_key(epoch),
                metadata=others.described[epoch],
            )
        )


def _log_fields(report: EpochReport, stored: StoredStep) -> dict[str, object]:
    """Fields of a stored epoch in JSON logs, beside the message."""
    outcomes = report.described.get("attestation_outcomes", {})
    rewards = report.described.get("attestation_rewards", {})
    return {
        "epoch": report.epoch,
        "node": report.node,
        "finalized": report.finalized,
        "seconds": round(report.seconds, 3),
        "requests": report.requests,
        "duties": outcomes.get("duties"),
        "missed": outcomes.get("missed"),
        "reward_gwei": rewards.get("earned_gwei"),
        "missing_facts": [source.fact.value for source in report.missing],
        "kept": report.epoch in stored.left_out,
    }
