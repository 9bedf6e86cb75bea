"""Where a score stands among others: ranks, quantiles, bands of comparable validators."""

from __future__ import annotations

from typing import Final

import numpy as np

from valmon_pipeline.scoring.effectiveness import Float64Array, Int64Array

QUANTILES: Final = (5, 25, 50, 75, 95)
"""The quantiles that distributions are described by, in percent."""


def percentile_rank(values: Float64Array) -> Float64Array:
    """Mid-rank of each value (n) in 0…1: (how many are below + half of how many are equal) / n.

    A value counts among its equals, so ranks average 0.5 and do not depend on the order of rows.
    NaN stays NaN and is not counted.
    """
    return percentile_rank_among(values, values)


def percentile_rank_among(
    values: Float64Array, population: Float64Array, counts: Int64Array | None = None
) -> Float64Array:
    """The same rank of each value (n) among a ``population`` (m) that it belongs to.

    A value of the population occurs ``counts`` (m) times, by default once. NaN of an empty
    population, too.
    """
    occurring = ~np.isnan(population)
    ascending, total = np.sort(population[occurring]), None
    if counts is not None:
        order = np.argsort(population[occurring], kind="stable")
        total = np.concatenate([[0], np.cumsum(counts[occurring][order])])
    counted = ~np.isnan(values)
    below = np.searchsorted(ascending, values[counted], side="left")
    not_above = np.searchsorted(ascending, values[counted], side="right")
    size = len(ascending)
    if total is not None:
        below, not_above, size = total[below], total[not_above], int(total[-1])
    ranks = np.full(len(values), np.nan)
    if size:
        ranks[counted] = (below + not_above) / (2 * size)
    return ranks


def quantiles_of_counted(values: Float64Array, counts: Int64Array) -> Float64Array:
    """``quantiles`` of values (n) that occur ``counts`` (n) times, without writing them out."""
    occurring = ~np.isnan(values) & (counts > 0)
    if not occurring.any():
        return np.full(len(QUANTILES), np.nan)
    order = np.argsort(values[occurring], kind="stable")
    ascending, last = values[occurring][order], np.cumsum(counts[occurring][order])
    at = np.array(QUANTILES, dtype=np.float64) / 100 * (last[-1] - 1)
    below = np.floor(at).astype(np.int64)
    above = np.minimum(below + 1, last[-1] - 1)
    low, high = (ascending[np.searchsorted(last, rank, side="right")] for rank in (below, above))
    share = at - below
    # From the nearer neighbour, as NumPy does it, so that the results are the same to the last bit.
    result: Float64Array = np.where(
        share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share)
    )
    return result


def band_percentile_rank(
    values: Float64Array,
    bands: Int64Array,
    population: Float64Array,
    population_bands: Int64Array,
    counts: Int64Array | None = None,
) -> Float64Array:
    """``percentile_rank_among`` of each value (n) among the population (m) of its own band."""
    ranks = np.full(len(values), np.nan)
    for band in np.unique(bands).tolist():
        ours, theirs = bands == band, population_bands == band
        ranks[ours] = percentile_rank_among(
            values[ours], population[theirs], None if counts is None else counts[theirs]
        )
    return ranks


def effective_balance_band(
    min_activation_balance: int, effective_balance: Int64Array
) -> Int64Array:
    """The band of each effective balance (n, gwei): the lower bound of the powers of two of
    MIN_ACTIVATION_BALANCE that it lies between; 0 below the first.

    Rewards grow with the balance, and so does the chance to propose; what validators of one band
    earn is comparable.
    """
    multiples = effective_balance // min_activation_balance
    # frexp is exact: x = m · 2^e with m in [½, 1), so that e - 1 is the highest bit of x.
    _, exponents = np.frexp(multiples.astype(np.float64))
    doublings = np.maximum(exponents.astype(np.int64) - 1, 0)
    return np.where(multiples > 0, np.int64(min_activation_balance) << doublings, np.int64(0))


def quantiles(values: Float64Array) -> Float64Array:
    """The ``QUANTILES`` of values (n), interpolated linearly; NaN is not counted, NaN of none."""
    counted = values[~np.isnan(values)]
    if len(counted) == 0:
        return np.full(len(QUANTILES), np.nan)
    shares = np.array(QUANTILES, dtype=np.float64) / 100
    result: Float64Array = np.quantile(counted, shares)
    return result
