"""What validators of a whole network have in common: an epoch's different outcomes.

A million validators come to a few thousand different results in an epoch: rewards follow from
effective balance, flags and inactivity score, and most validators agree in all three. So the
results are kept once each, and of every validator only which one is its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from valmon_pipeline.chain.network_epoch import Int32Array, NetworkEpoch
from valmon_pipeline.chain.registry import Int64Array

SMALL_COLUMNS: Final = ("status", "active", "eligible", "slashed", "flags")
"""Columns of ``NetworkEpoch`` with at most 256 values each."""

WIDE_COLUMNS: Final = (
    "effective_balance",
    "inactivity_score",
    "source_reward",
    "target_reward",
    "head_reward",
    "inactivity_penalty",
    "ideal_reward",
    "reward_effectiveness",
    "percentile_rank",
)
"""Columns with any values; those that others follow from come first."""

OUTCOME_COLUMNS: Final = SMALL_COLUMNS + WIDE_COLUMNS
"""All that makes an outcome. The rest of ``NetworkEpoch`` is each validator's own."""


@dataclass(frozen=True, slots=True)
class DistinctOutcomes:
    """The m different outcomes of an epoch.

    ``number`` is that of each validator's outcome (n), ``example`` the first validator with each
    outcome (m), and ``validators`` how many have it (m).
    """

    number: Int32Array
    example: Int64Array
    validators: Int64Array


def distinct_outcomes(network: NetworkEpoch) -> DistinctOutcomes:
    """Number the different combinations of ``OUTCOME_COLUMNS``, the most frequent first.

    Equally frequent ones are in the order of their first validators, so that the same epoch always
    gets the same numbers. Shares are told apart bit by bit; NaN equals itself.
    """
    small = np.zeros(len(network), dtype=np.int64)
    for name in SMALL_COLUMNS:
        small = small << 8 | getattr(network, name)
    codes = _codes(small)
    first = _first_of_each(codes)
    for name in WIDE_COLUMNS:
        values = _comparable(getattr(network, name))
        # Most columns follow from those before: one look instead of numbering all anew.
        if np.array_equal(values[first][codes], values):
            continue
        own = _codes(values)
        codes = _codes(codes * (int(own.max()) + 1) + own)
        first = _first_of_each(codes)
    counts = np.bincount(codes, minlength=len(first))
    order = np.argsort(-counts, kind="stable")
    number = np.empty(len(order), dtype=np.int32)
    number[order] = np.arange(len(order), dtype=np.int32)
    return DistinctOutcomes(number[codes], first[order], counts[order])


def _codes(values: npt.NDArray[np.integer[Any]]) -> Int64Array:
    """Numbers from 0 (n) for the different values, in the order in which they come first."""
    codes, _ = pd.factorize(values)
    return codes.astype(np.int64, copy=False)


def _first_of_each(codes: Int64Array) -> Int64Array:
    """Where each of the numbers 0 … m - 1 comes first (m)."""
    first = np.empty(int(codes.max()) + 1 if len(codes) else 0, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return first


def _comparable(values: npt.NDArray[Any]) -> npt.NDArray[np.integer[Any]]:
    """Integers that are equal where the values are: of a float, its bits, the same of every NaN."""
    if values.dtype.kind != "f":
        return values
    canonical = np.where(np.isnan(values), np.array(np.nan, values.dtype), values)
    return canonical.view(f"i{values.dtype.itemsize}")
