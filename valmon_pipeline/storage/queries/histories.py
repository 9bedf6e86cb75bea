"""One validator epoch by epoch: the key (epoch, validator_index), a probe per epoch; proposals and
blocks by their own index on the validator."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import pandas as pd

from valmon_pipeline.storage.queries.status import stored_epochs
from valmon_pipeline.storage.warehouse import Warehouse


def validator_history(
    warehouse: Warehouse, validator_index: int, epochs: Sequence[int] | None = None
) -> pd.DataFrame:
    """One row per stored epoch in which the validator had duties, ascending.

    Columns: those of ``attestation_outcomes``, ``attestation_rewards`` and ``effectiveness_scores``
    without the index; ``sync_seats``, ``sync_due``, ``sync_participated``, ``sync_missed``,
    ``sync_reward`` and ``ideal_sync_reward`` (gwei); ``proposals``, ``blocks_proposed`` and
    ``block_reward`` (gwei). Columns of a part that an epoch does not have are NULL, and so is the
    reward of blocks if that of one of them is.

    Raises:
        StorageError: the database is away or refuses.
    """
    wanted = stored_epochs(warehouse) if epochs is None else list(epochs)

    def read(table: str) -> pd.DataFrame:
        rows = warehouse.read(table, epochs=wanted, validator_indices=[validator_index])
        return rows.drop(columns=["validator_index", "proposer_index"], errors="ignore")

    duties = read("proposer_duties")
    proposals = (
        duties.assign(is_proposed=duties["outcome"] == "proposed")
        .groupby("epoch", as_index=False)
        .agg(proposals=("slot", "count"), blocks_proposed=("is_proposed", "sum"))
    )
    # A sum that skips NULLs would be a wrong amount.
    rewards = (
        read("block_rewards")
        .groupby("epoch", as_index=False)
        .agg(block_reward=("total", lambda totals: totals.sum(skipna=False)))
    )
    parts = [
        read("attestation_outcomes"),
        read("attestation_rewards"),
        read("sync_duties").rename(
            columns={name: f"sync_{name}" for name in ("seats", "due", "participated", "missed")}
        ),
        read("sync_rewards").rename(
            columns={"reward": "sync_reward", "ideal_reward": "ideal_sync_reward"}
        ),
        proposals,
        rewards,
        read("effectiveness_scores"),
    ]
    nullable = [part.astype(_nullable_types(part)) for part in parts]
    merged = reduce(lambda left, right: left.merge(right, on="epoch", how="outer"), nullable)
    return merged.sort_values("epoch", ignore_index=True)


def _nullable_types(frame: pd.DataFrame) -> dict[str, str]:
    """Types in which a missing part of an epoch is NULL and integers stay integers."""
    nullable = {"int32": "Int32", "int64": "Int64", "bool": "boolean"}
    return {
        str(name): nullable[str(dtype)]
        for name, dtype in frame.dtypes.items()
        if str(dtype) in nullable and name != "epoch"
    }
