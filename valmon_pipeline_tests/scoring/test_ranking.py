from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.scoring.ranking import percentile_rank


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
