"""The sums of a UTC day from the stored facts of its epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.frames.conform import conform
from valmon_pipeline.scoring.rollup import Int64Array, SumsByValidator
from valmon_pipeline.storage.warehouse import Warehouse

ROWS_AT_ONCE: Final = 500_000
"""About how many rows of a table are in memory at once, whatever the length of the day."""


def day_summaries_frame(
    warehouse: Warehouse, day: date, due: range, rows_at_once: int = ROWS_AT_ONCE
) -> pd.DataFrame:
    """Frame ``validator_day_summaries`` of a day, a row per validator that was watched in it.

    Args:
        warehouse: where the facts are.
        day: the UTC day.
        due: the epochs that start in it; those of them that are stored are summed up.
        rows_at_once: see ``ROWS_AT_ONCE``; the sums do not depend on it.

    Raises:
        StorageError: the database is away or refuses.
    """
    epochs = warehouse.read("network_epochs", epochs=due, columns=["epoch", "finalized"])
    stored = epochs["epoch"].tolist()
    sums = SumsByValidator()
    for piece in _pieces(warehouse, stored, rows_at_once):
        _add(sums, warehouse, piece)
    validators = sums.validators

    def everybody(value: object) -> list[object]:
        return [value] * len(validators)

    return conform(
        "validator_day_summaries",
        {
            "day": np.full(len(validators), np.datetime64(day, "ns")),
            "validator_index": validators,
            "epochs": everybody(len(stored)),
            "complete": everybody(len(stored) == len(due)),
            "finalized": everybody(bool(epochs["finalized"].all())),
            **{name: sums.total(name) for name in _COUNTS},
            "attestation_effectiveness_sum": sums.total("attestation_effectiveness_sum").astype(
                np.float64
            ),
            **{name: sums.total_or_masked(name) for name in _MAYBE_UNKNOWN},
        },
    )


_COUNTS: Final = (
    "duties",
    "missed",
    "attestation_effectiveness_duties",
    "reward",
    "sync_due",
    "sync_participated",
    "sync_reward",
    "proposals_due",
    "proposals_proposed",
    "proposal_reward",
    "effective_balance_epochs",
)
_MAYBE_UNKNOWN: Final = ("ideal_reward", "attainable_reward", "sync_ideal_reward")


def _pieces(warehouse: Warehouse, epochs: Sequence[int], rows: int) -> Iterator[list[int]]:
    """The epochs in pieces whose tables have about ``rows`` rows."""
    if not epochs:
        return
    watched = len(warehouse.read("effectiveness_scores", epochs=epochs[:1], columns=["epoch"]))
    length = max(1, rows // max(1, watched))
    for first in range(0, len(epochs), length):
        yield list(epochs[first : first + length])


def _add(sums: SumsByValidator, warehouse: Warehouse, epochs: Sequence[int]) -> None:
    def read(table: str, *columns: str) -> pd.DataFrame:
        return warehouse.read(table, epochs=epochs, columns=columns)

    scores = read("effectiveness_scores", "epoch", "validator_index", "attestation_effectiveness")
    watched = _integers(scores, "validator_index")
    sums.include(watched)
    effectiveness = scores["attestation_effectiveness"].to_numpy(np.float64)
    judged = ~np.isnan(effectiveness)
    sums.add(
        watched[judged],
        {
            "attestation_effectiveness_sum": effectiveness[judged],
            "attestation_effectiveness_duties": np.ones(int(judged.sum()), np.int64),
        },
    )

    outcomes = read(
        "attestation_outcomes", "validator_index", "included", "earliest_inclusion_slot"
    )
    missed = ~outcomes["included"] & outcomes["earliest_inclusion_slot"].notna()
    sums.add(
        _integers(outcomes, "validator_index"),
        {
            "duties": np.ones(len(outcomes), np.int64),
            "missed": missed.to_numpy(np.bool_).astype(np.int64),
        },
    )

    rewards = read(
        "attestation_rewards",
        *("validator_index", "total_reward", "ideal_total", "attainable_total"),
        "effective_balance",
    )
    sums.add(
        _integers(rewards, "validator_index"),
        {
            "reward": _integers(rewards, "total_reward"),
            "effective_balance_epochs": _integers(rewards, "effective_balance"),
        },
    )
    _add_nullable(sums, "ideal_reward", rewards, "ideal_total")
    _add_nullable(sums, "attainable_reward", rewards, "attainable_total")

    seats = read("sync_duties", "validator_index", "due", "participated")
    sums.add(
        _integers(seats, "validator_index"),
        {
            "sync_due": _integers(seats, "due"),
            "sync_participated": _integers(seats, "participated"),
        },
    )
    sync = read("sync_rewards", "validator_index", "reward", "ideal_reward")
    sums.add(_integers(sync, "validator_index"), {"sync_reward": _integers(sync, "reward")})
    _add_nullable(sums, "sync_ideal_reward", sync, "ideal_reward")

    # Proposals are stored of everybody; they count for those who were watched in that epoch.
    proposals = read("proposer_duties", "epoch", "validator_index", "outcome")
    proposals = proposals[_is_watched(proposals, "validator_index", scores)]
    sums.add(
        _integers(proposals, "validator_index"),
        {
            "proposals_due": np.ones(len(proposals), np.int64),
            "proposals_proposed": (
                (proposals["outcome"] == "proposed").to_numpy(np.bool_).astype(np.int64)
            ),
        },
    )
    blocks = read("block_rewards", "epoch", "proposer_index", "total")
    blocks = blocks[_is_watched(blocks, "proposer_index", scores)]
    sums.add(_integers(blocks, "proposer_index"), {"proposal_reward": _integers(blocks, "total")})


def _add_nullable(sums: SumsByValidator, name: str, frame: pd.DataFrame, column: str) -> None:
    sums.add_unknown(
        _integers(frame, "validator_index"),
        name,
        frame[column].to_numpy(np.int64, na_value=0),
        frame[column].isna().to_numpy(np.bool_),
    )


def _is_watched(frame: pd.DataFrame, validator: str, scores: pd.DataFrame) -> pd.Series:
    """Whether each row's epoch and validator have a score."""

    def pairs(rows: pd.DataFrame, name: str) -> Int64Array:
        return (_integers(rows, "epoch") << np.int64(32)) | _integers(rows, name)

    found = np.isin(pairs(frame, validator), pairs(scores, "validator_index"))
    return pd.Series(found, index=frame.index)


def _integers(frame: pd.DataFrame, column: str) -> Int64Array:
    return frame[column].to_numpy(np.int64)
