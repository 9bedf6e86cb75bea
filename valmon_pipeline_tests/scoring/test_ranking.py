from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.scoring.ranking import (
    band_percentile_rank,
    effective_balance_band,
    percentile_rank,
    percentile_rank_among,
    quantiles,
    quantiles_of_counted,
)


def test_equals_share_the_middle_of_their_places() -> None:
    ranks = percentile_rank(np.array([0.5, 1.0, 1.0, 0.0]))
    assert ranks.tolist() == [0.375, 0.75, 0.75, 0.125]


def test_all_equal_are_in_the_middle() -> None:
    assert percentile_rank(np.array([1.0, 1.0, 1.0])).tolist() == [0.5] * 3
    assert percentile_rank(np.array([0.3])).tolist() == [0.5]


def test_undefined_scores_have_no_rank_and_do_not_count() -> None:
    ranks = percentile_rank(np.array([np.nan, 0.2, 0.8]))
    assert np.isnan(ranks[0])
    assert ranks[1:].tolist() == [0.25, 0.75]
    assert np.isnan(percentile_rank(np.array([np.nan]))).all()
    assert percentile_rank(np.array([])).tolist() == []


@given(st.lists(st.floats(allow_nan=True, width=32), max_size=60))
def test_ranks_are_what_counting_says(values: list[float]) -> None:
    ranks = percentile_rank(np.array(values, dtype=np.float64))
    defined = [value for value in values if value == value]
    for value, rank in zip(values, ranks.tolist(), strict=True):
        if value != value:
            assert np.isnan(rank)
            continue
        below = sum(other < value for other in defined)
        equal = sum(other == value for other in defined)
        assert rank == pytest.approx((below + 0.5 * equal) / len(defined))
        assert 0 < rank < 1


def test_the_rank_among_others_counts_them() -> None:
    population = np.array([0.1, 0.5, 0.5, 0.9, np.nan])
    ranks = percentile_rank_among(np.array([0.5, 0.9, np.nan]), population)
    assert ranks[:2].tolist() == [0.5, 0.875]
    assert np.isnan(ranks[2])
    assert np.isnan(percentile_rank_among(np.array([0.5]), np.array([np.nan]))).all()


def test_a_rank_within_a_band_does_not_count_other_bands() -> None:
    ranks = band_percentile_rank(
        np.array([0.5, 0.5]), np.array([32, 64]), np.array([0.5, 0.7, 0.5]), np.array([32, 32, 64])
    )
    assert ranks.tolist() == [0.25, 0.5]


def test_bands_are_powers_of_two_of_the_minimum() -> None:
    minimum = 32 * 10**9
    balances = np.array([0, 1, 31, 32, 33, 63, 64, 127, 128, 2047, 2048], dtype=np.int64) * 10**9
    expected = [0, 0, 0, 32, 32, 32, 64, 64, 128, 1024, 2048]
    assert (effective_balance_band(minimum, balances) // 10**9).tolist() == expected
    assert effective_balance_band(minimum, np.array([minimum - 1, minimum])).tolist() == [
        0,
        minimum,
    ]


@given(st.integers(1, 2**36), st.integers(0, 2**50))
def test_a_balance_lies_in_its_band(minimum: int, balance: int) -> None:
    (band,) = effective_balance_band(minimum, np.array([balance])).tolist()
    if balance < minimum:
        assert band == 0
    else:
        assert band <= balance < 2 * band
        assert band % minimum == 0
        assert (band // minimum).bit_count() == 1


def test_quantiles_interpolate_and_of_nothing_are_unknown() -> None:
    assert quantiles(np.array([0.0, np.nan, 1.0])).tolist() == [0.05, 0.25, 0.5, 0.75, 0.95]
    assert np.isnan(quantiles(np.array([np.nan]))).all()


COUNTED = st.lists(
    st.tuples(st.one_of(st.just(np.nan), st.floats(-2, 1)), st.integers(0, 5)), max_size=20
)


@given(COUNTED)
def test_counted_values_rank_as_if_they_were_written_out(rows: list[tuple[float, int]]) -> None:
    values = np.array([value for value, _ in rows], dtype=np.float64)
    counts = np.array([count for _, count in rows], dtype=np.int64)
    ranks = percentile_rank_among(values, values, counts)
    np.testing.assert_array_equal(
        np.repeat(ranks, counts), percentile_rank(np.repeat(values, counts))
    )


@given(COUNTED)
def test_counted_values_have_the_quantiles_of_what_they_stand_for(
    rows: list[tuple[float, int]],
) -> None:
    values = np.array([value for value, _ in rows], dtype=np.float64)
    counts = np.array([count for _, count in rows], dtype=np.int64)
    np.testing.assert_array_equal(
        quantiles_of_counted(values, counts), quantiles(np.repeat(values, counts))
    )
