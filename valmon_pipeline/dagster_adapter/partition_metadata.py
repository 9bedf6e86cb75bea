"""Metadata for the materializations of many partitions, handed to Dagster at once.

``AssetExecutionContext.add_asset_metadata`` takes one partition of one asset at a time. Each call
asks Dagster's database three times, over three new connections, one of them for every key there is,
and copies all metadata given before. For 41 epochs of 11 assets that was half the time of a
backfill, and it grows with the number of keys. Only the step's own accumulator takes more at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.execution.context.metadata_logging import (
    AssetMetadataHandle,
    OutputMetadataAccumulator,
)

PartitionMetadata = Mapping[str, Mapping[str, Any]]
"""Metadata by partition key."""


def add_partition_metadata(
    context: dg.AssetExecutionContext, metadata: Mapping[dg.AssetKey, PartitionMetadata]
) -> None:
    """Attach metadata to the partitions that the step is about to materialize.

    The same as ``context.add_asset_metadata`` for each, except that keys which are not the step's
    are not noticed, and that nothing is merged: call it once, before the step yields.
    """
    step = context.get_step_execution_context()
    given = step._metadata_accumulator.per_output_metadata  # noqa: SLF001 - see the module's text
    step._metadata_accumulator = OutputMetadataAccumulator(  # noqa: SLF001
        per_output_metadata={
            **given,
            **{
                AssetMetadataHandle(asset_key=asset_key, partition_key=partition_key): values
                for asset_key, by_partition in metadata.items()
                for partition_key, values in by_partition.items()
            },
        }
    )
