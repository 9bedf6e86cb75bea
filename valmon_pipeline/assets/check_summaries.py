"""Results of data checks over the epochs of a run, as Dagster is told of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import dagster as dg

from valmon_pipeline.assets.asset_graph import CONTRACT_CHECK
from valmon_pipeline.epoch.checks import MAX_EXAMPLES, CheckResult, EpochCheck
from valmon_pipeline.errors import ContractViolationError
from valmon_pipeline.storage.step_frames import StepFrames


def contract_result(key: dg.AssetKey, step: StepFrames, table: str) -> dg.AssetCheckResult:
    """The contract check of a table of a step that was stored: a frame that breaks it is not."""
    return dg.AssetCheckResult(
        passed=True,
        asset_key=key,
        check_name=CONTRACT_CHECK,
        metadata={"epochs": len(step.epochs), "rows": len(step.tables[table])},
    )


def broken_contract(key: dg.AssetKey, error: ContractViolationError) -> dg.AssetCheckEvaluation:
    """The failed contract check of a table, as an event: a step that fails yields no results."""
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=CONTRACT_CHECK,
        passed=False,
        description=str(error),
        metadata={"failing_epochs": str([*error.epochs])},
    )


def check_results(
    key: dg.AssetKey,
    table: str,
    checks: Collection[EpochCheck],
    results: Sequence[CheckResult],
) -> Iterator[dg.AssetCheckResult]:
    """A result for each of the ``checks`` on a table, over all epochs."""
    for check in checks:
        if check.asset == table:
            of_check = [
                result for result in results if (result.asset, result.name) == (table, check.name)
            ]
            yield _summary(key, check.name, of_check)


def _summary(key: dg.AssetKey, name: str, results: Sequence[CheckResult]) -> dg.AssetCheckResult:
    failed = [result for result in results if result.failed]
    examples = [
        dg.TableRecord({"epoch": result.epoch, **row})
        for result in failed
        for row in result.examples
    ][:MAX_EXAMPLES]
    return dg.AssetCheckResult(
        passed=not failed,
        asset_key=key,
        check_name=name,
        description=_description(results, failed),
        metadata={
            "epochs": len(results),
            "rows_compared": sum(result.compared for result in results),
            "failing_rows": sum(result.failing for result in results),
            **({"failing_epochs": str([result.epoch for result in failed])} if failed else {}),
            **({"examples": dg.MetadataValue.table(records=examples)} if examples else {}),
        },
    )


def _description(results: Sequence[CheckResult], failed: Sequence[CheckResult]) -> str | None:
    if failed:
        return f"epoch {failed[0].epoch}: {failed[0].detail}"
    idle = [result.epoch for result in results if not result.compared]
    if not idle:
        return None
    return (
        f"Nothing to compare in {len(idle)} of {len(results)} epochs (the first: {idle[0]}): "
        "no rows, or a fact that is not known; `valmon status --epoch` says which."
    )
