"""What a run has to tell Dagster about the standings it made.

They may be of epochs the run does not hold: filling a gap makes those of later epochs again, and a
run finishes what a killed one has left. These are told as events of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import dagster as dg

from valmon_pipeline.assets.asset_graph import CONTRACT_CHECK, asset_key
from valmon_pipeline.assets.metadata import Metadata, standings_metadata
from valmon_pipeline.assets.run_record import evaluation_of
from valmon_pipeline.assets.standings import MadeStandings
from valmon_pipeline.partitions import epoch_key
from valmon_pipeline.storage.standings_due import STANDINGS


class StandingsRecord:
    """Collects the standings that a run made: counts and a plot per epoch, no frames."""

    def __init__(self, network: str) -> None:
        self.key = asset_key(network, STANDINGS)
        self.metadata: dict[int, Metadata] = {}

    def add(self, made: MadeStandings) -> None:
        """Take what is needed of an epoch's standings; made twice, the later ones count."""
        self.metadata[made.epoch] = standings_metadata(made.frame, made.corrections)

    def events(
        self, refused: Mapping[int, str]
    ) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
        """All there is to tell, for a run that fails."""
        yield from self.materializations(self.metadata)
        yield evaluation_of(self.check_result(refused))

    def materializations(self, epochs: Collection[int]) -> Iterator[dg.AssetMaterialization]:
        """An event for each of ``epochs`` whose standings were made, ascending."""
        for epoch, metadata in sorted(self.metadata.items()):
            if epoch in epochs:
                yield dg.AssetMaterialization(
                    self.key, partition=epoch_key(epoch), metadata=metadata
                )

    def check_result(self, refused: Mapping[int, str]) -> dg.AssetCheckResult:
        """The contract check over all standings of the run; ``refused`` were not stored."""
        first = min(refused.items(), default=None)
        return dg.AssetCheckResult(
            passed=not refused,
            asset_key=self.key,
            check_name=CONTRACT_CHECK,
            description=f"epoch {first[0]}: {first[1]}" if first else None,
            metadata={
                "epochs": len(self.metadata) + len(refused),
                "rows_stored": sum(
                    metadata["dagster/partition_row_count"] for metadata in self.metadata.values()
                ),
                **({"failing_epochs": str(sorted(refused))} if refused else {}),
            },
        )
