"""One cause per duty, the weightiest, and none for a perfect attestation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.scoring.miss_causes import MissCause, head_missed_by_most, miss_causes

PERFECT: dict[str, Any] = {
    "slot": 10,
    "inclusion_slot": 11,
    "earliest_inclusion_slot": 11,
    "target_correct": True,
    "head_correct": True,
    "source_timely": True,
    "target_timely": True,
    "head_timely": True,
    "slashed": False,
    "last_epoch_before_exit": False,
    "head_missed_by_most": False,
}
ABSENT = {
    "inclusion_slot": -1,
    "target_correct": False,
    "head_correct": False,
    "source_timely": False,
    "target_timely": False,
    "head_timely": False,
}
WRONG_HEAD = {"head_correct": False, "head_timely": False}
LATE = {"inclusion_slot": 12, "head_timely": False}
VERY_LATE = {"inclusion_slot": 20, "head_timely": False, "source_timely": False}
SKIPPED = {"earliest_inclusion_slot": 12}


def cause(**facts: Any) -> MissCause | None:
    columns = {name: np.array([value]) for name, value in (PERFECT | facts).items()}
    (code,) = miss_causes(**columns, head_delay=1).tolist()
    return None if code == -1 else list(MissCause)[code]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, None),
        ({"slashed": True}, MissCause.SLASHED),
        (ABSENT | {"slashed": True}, MissCause.SLASHED),
        (ABSENT, MissCause.NOT_INCLUDED),
        (ABSENT | {"earliest_inclusion_slot": -1}, MissCause.NO_OPPORTUNITY),
        (ABSENT | {"last_epoch_before_exit": True}, MissCause.EXIT_BOUNDARY),
        (ABSENT | {"head_missed_by_most": True}, MissCause.NOT_INCLUDED),
        (WRONG_HEAD | {"target_correct": False, "target_timely": False}, MissCause.WRONG_TARGET),
        (LATE, MissCause.LATE_INCLUSION),
        (VERY_LATE, MissCause.LATE_INCLUSION),
        (VERY_LATE | SKIPPED, MissCause.LATE_INCLUSION),
        (LATE | SKIPPED, MissCause.NEXT_BLOCK_MISSED),
        (LATE | SKIPPED | {"inclusion_slot": 13}, MissCause.NEXT_BLOCK_MISSED),
        (LATE | WRONG_HEAD, MissCause.WRONG_HEAD),
        (WRONG_HEAD | SKIPPED | {"inclusion_slot": 12}, MissCause.WRONG_HEAD),
        (WRONG_HEAD, MissCause.WRONG_HEAD),
        (WRONG_HEAD | {"head_missed_by_most": True}, MissCause.LATE_BLOCK),
        ({"last_epoch_before_exit": True, "head_missed_by_most": True}, None),
    ],
)
def test_the_weightiest_cause_is_named(facts: dict[str, Any], expected: MissCause | None) -> None:
    assert cause(**facts) is expected


@given(
    st.fixed_dictionaries(
        {
            "inclusion_slot": st.sampled_from([-1, 11, 12, 20]),
            "earliest_inclusion_slot": st.sampled_from([-1, 11, 12]),
            **{name: st.booleans() for name, value in PERFECT.items() if isinstance(value, bool)},
        }
    )
)
def test_a_cause_is_named_exactly_where_a_flag_was_lost(facts: dict[str, Any]) -> None:
    earned_all = facts["source_timely"] and facts["target_timely"] and facts["head_timely"]
    assert (cause(**facts) is None) == (earned_all and not facts["slashed"])


def test_most_votes_of_a_slot_are_counted_slot_by_slot() -> None:
    slot = np.array([8, 8, 8, 9, 9, 9, 9, 10, 11])
    included = np.array([True, True, True, True, True, True, False, True, False])
    correct = np.array([False, False, True, True, True, False, False, False, False])
    expected = [True, True, True, False, False, False, False, True, False]
    assert head_missed_by_most(slot, included, correct).tolist() == expected


def test_half_of_the_votes_are_not_most() -> None:
    halves = head_missed_by_most(np.array([5, 5]), np.ones(2, np.bool_), np.array([True, False]))
    assert halves.tolist() == [False, False]


def test_no_duties_have_no_causes() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    empty = np.zeros(0, dtype=np.bool_)
    assert len(head_missed_by_most(nothing, empty, empty)) == 0
