"""What assets are handed: how to reach a node, the warehouse, and whom to watch.

A plain object rather than a configurable resource: Dagster shows the fields of those in its UI, and
addresses may carry tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from valmon_pipeline.assets.epoch_reader import Watch
from valmon_pipeline.assets.materialization import EpochMaterializer
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.config import WatchList
from valmon_pipeline.storage.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything a run needs; making one opens no connection."""

    network: str
    open_client: Callable[[], AbstractAsyncContextManager[BeaconClient]]
    warehouse: Warehouse
    watch: Watch
    watch_list: WatchList

    def materializer(self) -> EpochMaterializer:
        """A materializer of epochs with this node, warehouse and watch list."""
        return EpochMaterializer(self.open_client, self.warehouse, self.watch)
