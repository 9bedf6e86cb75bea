"""Sums added up further, and the ratios that are made from them: sums before divisions."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from valmon_pipeline.frames.sums import SUM_NAMES, sum_columns

UNBOUNDED: Final = ("attestation_effectiveness_weight", "effective_balance_epochs")
"""Balances summed up over epochs outgrow 64 bits within two months of mainnet: they are Python
integers, in a column of objects."""

REAL: Final = tuple(
    name for name, column in sum_columns().items() if str(column.dtype) == "float64"
)

RATIOS: Final = {
    "attestation_effectiveness": (
        "attestation_effectiveness_sum",
        "attestation_effectiveness_duties",
    ),
    "attestation_effectiveness_weighted": (
        "attestation_effectiveness_weighted_sum",
        "attestation_effectiveness_weight",
    ),
    "reward_effectiveness": ("scored_reward", "scored_ideal_reward"),
    "reward_effectiveness_unweighted": ("reward_effectiveness_sum", "reward_effectiveness_count"),
    "inclusion_delay": ("inclusion_delay_sum", "included"),
    "source_rate": ("source_timely", "duties"),
    "target_rate": ("target_timely", "duties"),
    "head_rate": ("head_timely", "duties"),
    "sync_rate": ("sync_participated", "sync_due"),
    "proposal_rate": ("proposals_proposed", "proposals_due"),
}
"""Numerator and denominator of each ratio. Where the denominator is 0 nothing was due: NaN."""


def with_ratios(sums: pd.DataFrame) -> pd.DataFrame:
    """``sums`` with the ``RATIOS`` beside it, float64, NaN where nothing was due."""
    return sums.assign(
        **{
            name: ratio(sums[numerator], sums[denominator])
            for name, (numerator, denominator) in RATIOS.items()
        }
    )


def ratio(numerator: pd.Series, denominator: pd.Series) -> npt.NDArray[np.float64]:
    """One over the other, row by row; NaN where either is unknown or the denominator is 0."""
    above = numerator.astype("float64").to_numpy(np.float64, na_value=np.nan)
    below = denominator.astype("float64").to_numpy(np.float64, na_value=np.nan)
    divided = np.full(len(above), np.nan)
    np.divide(above, below, out=divided, where=below != 0)
    return divided


def add_up(sums: pd.DataFrame, groups: npt.NDArray[np.int64], count: int) -> dict[str, Any]:
    """The sum columns of the rows (n) of each group (0 … count − 1), exactly, as columns.

    A sum one of whose rows is NULL is NULL. Floats are added up in the order of the rows.
    """
    totals: dict[str, Any] = {}
    for name in SUM_NAMES:
        column = sums[name]
        if name in REAL:
            total = np.zeros(count)
            np.add.at(total, groups, column.to_numpy(np.float64))
            totals[name] = total
        elif name in UNBOUNDED:
            exact = np.full(count, 0, dtype=object)
            np.add.at(exact, groups, column.astype(object).to_numpy())
            totals[name] = exact
        else:
            whole = np.zeros(count, dtype=np.int64)
            np.add.at(whole, groups, column.to_numpy(np.int64, na_value=0))
            unknown = np.zeros(count, dtype=np.bool_)
            unknown[groups[column.isna().to_numpy(np.bool_)]] = True
            totals[name] = pd.arrays.IntegerArray(whole, unknown)
    return totals
