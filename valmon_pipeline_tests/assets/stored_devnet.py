"""Epochs of the recorded devnet that are stored as they were computed, without a node."""

from __future__ import annotations

from collections.abc import Sequence

from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epochs import Computed


def bind(warehouse: Warehouse, computed: Computed) -> None:
    """Tie to the network; child tables hold seven epochs, so that windows cross their borders."""
    spec = computed.spec
    identity = NetworkIdentity(
        config_name=spec.config_name,
        genesis_time=1_700_000_000,
        genesis_validators_root=bytes(32),
        slots_per_epoch=spec.slots_per_epoch,
        slot_duration_ms=spec.slot_duration_ms,
        partition_epochs=7,
    )
    warehouse.bind_network(identity)


def store(warehouse: Warehouse, computed: Computed, epochs: Sequence[int]) -> None:
    """Store what was computed of epochs, in the order given."""
    for epoch in epochs:
        warehouse.replace_epoch(epoch, computed.frames[epoch].tables)
