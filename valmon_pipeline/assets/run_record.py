"""What a run over many epochs has to tell Dagster: metadata per epoch, check results per run.

Only counts, sums and a few examples are kept, so that memory does not grow with the frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import dagster as dg

from valmon_pipeline.assets.asset_graph import CONTRACT_CHECK, EPOCH_ASSETS, asset_key
from valmon_pipeline.assets.materialization import EpochReport
from valmon_pipeline.assets.metadata import Metadata
from valmon_pipeline.epoch.checks import EPOCH_CHECKS, MAX_EXAMPLES, CheckResult
from valmon_pipeline.partitions import epoch_key

NO_BREACHES: Final[Mapping[int, str]] = {}


def epoch_metadata(report: EpochReport, table: str) -> Metadata:
    """Metadata of one asset's materialization for one epoch."""
    return {
        **report.described.get(table, {}),
        "node": report.node,
        "epoch_seconds": round(report.seconds, 3),
        "epoch_requests": report.requests,
        "epoch_bytes_received": report.bytes_received,
        **({"unknown_validators": str(list(report.unknown_ids))} if report.unknown_ids else {}),
    }


class RunRecord:
    """Collects the reports of a run's stored epochs."""

    def __init__(self, network: str) -> None:
        self._network = network
        self.metadata: dict[str, dict[int, Metadata]] = {table: {} for table in EPOCH_ASSETS}
        self._checks: dict[tuple[str, str], list[CheckResult]] = {
            (check.asset, check.name): [] for check in EPOCH_CHECKS
        }

    def add(self, report: EpochReport) -> None:
        """Take what is needed from the report of a stored epoch."""
        for table, by_epoch in self.metadata.items():
            by_epoch[report.epoch] = epoch_metadata(report, table)
        for result in report.checks:
            self._checks[result.asset, result.name].append(result)

    def check_results(
        self, table: str, broken: Mapping[int, str] = NO_BREACHES
    ) -> list[dg.AssetCheckResult]:
        """One result per check of a table's asset, over all epochs of the run.

        ``broken`` are the epochs whose frame broke the table's contract and was not stored.
        """
        key = asset_key(self._network, table)
        return [
            self._contract_result(key, table, broken),
            *(
                _summary(key, name, results)
                for (asset, name), results in self._checks.items()
                if asset == table
            ),
        ]

    def events(
        self, broken_contracts: Mapping[str, Mapping[int, str]]
    ) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
        """The same as events, for a run that fails."""
        for table, by_epoch in self.metadata.items():
            key = asset_key(self._network, table)
            for epoch, metadata in by_epoch.items():
                yield dg.AssetMaterialization(key, partition=epoch_key(epoch), metadata=metadata)
            for result in self.check_results(table, broken_contracts.get(table, NO_BREACHES)):
                yield evaluation_of(result)

    def _contract_result(
        self, key: dg.AssetKey, table: str, broken: Mapping[int, str]
    ) -> dg.AssetCheckResult:
        by_epoch = self.metadata[table]
        first = min(broken.items(), default=None)
        return dg.AssetCheckResult(
            passed=not broken,
            asset_key=key,
            check_name=CONTRACT_CHECK,
            description=f"epoch {first[0]}: {first[1]}" if first else None,
            metadata={
                "epochs": len(by_epoch) + len(broken),
                "rows_stored": sum(
                    metadata["dagster/partition_row_count"] for metadata in by_epoch.values()
                ),
                **({"failing_epochs": str(sorted(broken))} if broken else {}),
            },
        )


def evaluation_of(result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """A check's result as an event, for a run that fails."""
    assert result.asset_key is not None
    assert result.check_name is not None
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
    )


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
