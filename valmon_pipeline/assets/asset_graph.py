"""The shape of the graph: which assets there are, in which group, computed from what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import dagster as dg

# Table to (asset group, tables it is computed from): the lineage picture, left to right. These are
# facts of an epoch alone, stored together.
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
    "block_events": ("chain", ("blocks", "validator_snapshots")),
    "balance_ledger": (
        "rewards",
        ("validator_snapshots", "block_events", "block_rewards", "sync_rewards"),
    ),
    "validator_penalties": (
        "rewards",
        ("attestation_rewards", "sync_rewards", "block_events", "balance_ledger"),
    ),
    "effectiveness_scores": (
        "scores",
        ("attestation_outcomes", "attestation_rewards", "proposer_duties", "sync_duties"),
    ),
    "epoch_summaries": (
        "scores",
        (
            *("validator_snapshots", "attestation_outcomes", "attestation_rewards"),
            *("proposer_duties", "block_rewards", "sync_duties", "sync_rewards"),
            *("validator_penalties", "balance_ledger"),
            *("effectiveness_scores", "validator_labels"),
        ),
    ),
    "network_bands": ("scores", ("blocks", "attestation_outcomes", "validator_snapshots")),
    "network_epochs": ("scores", ("blocks", "attestation_outcomes", "validator_snapshots")),
    "fact_sources": ("chain", ()),
}
# What needs the epochs before, made by the same step once its epochs are stored.
STANDINGS_ASSET: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "validator_standings": (
        "scores",
        (
            *("effectiveness_scores", "attestation_outcomes"),
            *("validator_snapshots", "network_epochs"),
        ),
    ),
}
STEP_ASSETS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {**EPOCH_ASSETS, **STANDINGS_ASSET}
CONTRACT_CHECK: Final = "contract"


def asset_key(network: str, table: str) -> dg.AssetKey:
    """The key of a table's asset: the network comes first, so that networks share one instance."""
    return dg.AssetKey([network, table])
