"""What was missed, by cause: a long form of the sums that every series has."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from valmon_pipeline.scoring.miss_causes import MissCause


def losses_by_cause(series: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The losses of each row of a series: ``keys``, ``miss_cause``, ``misses``, ``cost`` (gwei,
    NULL when unknown for any). In the order of the rows, and of ``MissCause``; pure."""
    parts = [
        series[list(keys)].assign(
            miss_cause=cause.value,
            misses=series[f"misses_{cause.value}"],
            cost=series[f"cost_{cause.value}"],
        )
        for cause in MissCause
    ]
    return pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)
