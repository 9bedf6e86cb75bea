"""Where a score stands among others."""

from __future__ import annotations

import numpy as np

from valmon_pipeline.scoring.effectiveness import Float64Array


def percentile_rank(values: Float64Array) -> Float64Array:
    """Mid-rank of each value (n) in 0…1: (how many are below + half of how many are equal) / n.

    A value counts among its equals, so ranks average 0.5 and do not depend on the order of rows.
    NaN stays NaN and is not counted.
    """
    counted = ~np.isnan(values)
    ascending = np.sort(values[counted])
    below = np.searchsorted(ascending, values[counted], side="left")
    not_above = np.searchsorted(ascending, values[counted], side="right")
    ranks = np.full(len(values), np.nan)
    if len(ascending):
        ranks[counted] = (below + not_above) / (2 * len(ascending))
    return ranks
