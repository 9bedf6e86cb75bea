from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline.scoring.effectiveness import (
    attestation_effectiveness,
    ratio,
    reward_effectiveness,
)
from valmon_pipeline_tests.chain.epoch_facts import epoch_facts
from valmon_pipeline_tests.recording import FIRST_EPOCH, LAST_EPOCH


@pytest.mark.parametrize(
    ("slot", "earliest", "actual", "expected"),
    [
        (5, 6, 6, 1.0),
        (5, 6, 7, 0.5),
        (5, 6, 8, 1 / 3),
        (5, 7, 7, 1.0),
        (5, 7, 8, 2 / 3),
        (5, 7, 9, 0.5),
        (0, 1, 1, 1.0),
        (5, 6, -1, 0.0),
    ],
)
def test_reference_points_of_the_definition(
    slot: int, earliest: int, actual: int, expected: float
) -> None:
    result = attestation_effectiveness(np.array([slot]), np.array([earliest]), np.array([actual]))
    assert result.tolist() == [expected]


def test_the_mean_counts_misses_as_zero() -> None:
    slot = np.array([10, 10, 10, 10])
    result = attestation_effectiveness(slot, np.array([11, 11, 12, 11]), np.array([11, 12, 12, -1]))
    assert result.mean() == 0.625


def test_no_opportunity_is_not_a_failure() -> None:
    result = attestation_effectiveness(np.array([5]), np.array([-1]), np.array([-1]))
    assert np.isnan(result).all()


@pytest.mark.parametrize(("earliest", "actual"), [(7, 6), (-1, 6), (5, 6), (4, -1)])
def test_impossible_inclusions_are_refused(earliest: int, actual: int) -> None:
    with pytest.raises(ChainRuleViolationError, match="duty of slot 5"):
        attestation_effectiveness(np.array([5]), np.array([earliest]), np.array([actual]))


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 64), st.integers(0, 64)), max_size=50)
)
def test_effectiveness_lies_in_0_to_1_and_falls_with_delay(
    duties: list[tuple[int, int, int]],
) -> None:
    slot = np.array([duty[0] for duty in duties], dtype=np.int64)
    earliest = slot + np.array([duty[1] for duty in duties], dtype=np.int64)
    inclusion = earliest + np.array([duty[2] for duty in duties], dtype=np.int64)
    result = attestation_effectiveness(slot, earliest, inclusion)
    assert ((result > 0) & (result <= 1)).all()
    assert ((result == 1) == (inclusion == earliest)).all()
    assert (attestation_effectiveness(slot, earliest, inclusion + 1) < result).all()


def test_rewards_are_compared_as_sums_and_may_be_negative() -> None:
    result = reward_effectiveness(np.array([54, -40, 27, 0]), np.array([54, 54, 54, 0]))
    assert result[:3].tolist() == [1.0, -40 / 54, 0.5]
    assert np.isnan(result[3])


def test_a_ratio_of_nothing_is_undefined() -> None:
    result = ratio(np.array([0, 3]), np.array([0, 4]))
    assert np.isnan(result[0])
    assert result[1] == 0.75


@pytest.mark.parametrize("epoch", range(FIRST_EPOCH, LAST_EPOCH + 1))
def test_every_duty_of_the_recording_has_a_score(epoch: int) -> None:
    outcomes = epoch_facts(epoch).outcomes
    result = attestation_effectiveness(
        outcomes.slot, outcomes.earliest_inclusion_slot, outcomes.inclusion_slot
    )
    assert not np.isnan(result).any()
    assert ((result > 0) == outcomes.included).all()
