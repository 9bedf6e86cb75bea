"""Standings do not depend on how they came about, and say what the facts of the window say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.scoring.standings import (
    EXCUSED,
    KEPT,
    MISSED,
    NO_DUTY,
    EpochFacts,
    StandingRules,
    Standings,
    StandingsWindow,
    duty_results,
    epoch_score,
)

RULES = StandingRules(half_life_epochs=3.0, window_epochs=6)
EVERYBODY = np.arange(8)


def facts_of(epoch: int, duties: dict[int, tuple[int, float]]) -> EpochFacts:
    """Facts by validator: duty and score."""
    validators = np.array(sorted(duties), dtype=np.int64)
    return EpochFacts(
        epoch,
        validators,
        np.array([duties[int(v)][1] for v in validators], dtype=np.float64),
        np.array([duties[int(v)][0] for v in validators], dtype=np.int8),
    )


judged = st.tuples(st.sampled_from([KEPT, MISSED]), st.floats(-2.0, 1.0))
unjudged = st.tuples(st.sampled_from([NO_DUTY, EXCUSED]), st.just(np.nan))
epochs_of_facts = st.dictionaries(
    st.integers(0, 24),
    st.dictionaries(st.integers(0, 7), st.one_of(judged, unjudged)),
    min_size=1,
).map(lambda epochs: {epoch: facts_of(epoch, duties) for epoch, duties in epochs.items()})


def alone(facts: dict[int, EpochFacts], epoch: int, rules: StandingRules = RULES) -> Standings:
    """The standings after one epoch, from its window and nothing else."""
    window = StandingsWindow(rules)
    for one in sorted(facts):
        if rules.first_epoch(epoch) <= one <= epoch:
            window.add(facts[one])
    return window.standings(EVERYBODY)


def same(left: Standings, right: Standings) -> bool:
    """Equal to the last bit."""
    return (
        left.time_weighted_score.tobytes() == right.time_weighted_score.tobytes()
        and left.missed_streak.tolist() == right.missed_streak.tolist()
        and left.judged_epochs.tolist() == right.judged_epochs.tolist()
        and left.had_duty.tolist() == right.had_duty.tolist()
        and left.window_epochs == right.window_epochs
        and left.window_complete == right.window_complete
    )


@given(epochs_of_facts)
def test_a_sliding_window_gives_what_each_epoch_alone_gives(facts: dict[int, EpochFacts]) -> None:
    window = StandingsWindow(RULES)
    for epoch in sorted(facts):
        window.add(facts[epoch])
        assert same(window.standings(EVERYBODY), alone(facts, epoch))


@given(epochs_of_facts, st.lists(st.integers(0, 7), unique=True, min_size=1))
def test_it_makes_no_difference_who_else_is_computed(
    facts: dict[int, EpochFacts], chosen: list[int]
) -> None:
    some = np.array(sorted(chosen))
    window = StandingsWindow(RULES)
    for epoch in sorted(facts):
        window.add(facts[epoch])
    together, apart = window.standings(EVERYBODY), window.standings(some)
    assert together.time_weighted_score[some].tobytes() == apart.time_weighted_score.tobytes()
    assert together.missed_streak[some].tolist() == apart.missed_streak.tolist()


@given(epochs_of_facts)
def test_they_are_what_their_definition_says(facts: dict[int, EpochFacts]) -> None:
    newest = max(facts)
    standings = alone(facts, newest)
    for validator in EVERYBODY.tolist():
        duties = [
            (epoch, int(facts[epoch].duty[row]), float(facts[epoch].score[row]))
            for epoch in sorted(facts)
            if newest - epoch < RULES.window_epochs
            for row in np.flatnonzero(facts[epoch].validators == validator).tolist()
        ]
        scored = [(epoch, score) for epoch, _, score in duties if not np.isnan(score)]
        weights = [0.5 ** ((newest - epoch) / RULES.half_life_epochs) for epoch, _ in scored]
        mean = standings.time_weighted_score[validator]
        if scored:
            expected = sum(w * s for w, (_, s) in zip(weights, scored, strict=True)) / sum(weights)
            assert mean == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(mean)
        streak = 0
        for duty in [duty for _, duty, _ in duties if duty in (KEPT, MISSED)][::-1]:
            if duty == KEPT:
                break
            streak += 1
        assert standings.missed_streak[validator] == streak
        assert standings.judged_epochs[validator] == len(scored)
        assert standings.had_duty[validator] == any(duty != NO_DUTY for _, duty, _ in duties)


@given(epochs_of_facts)
def test_the_window_knows_its_gaps(facts: dict[int, EpochFacts]) -> None:
    newest = max(facts)
    standings = alone(facts, newest)
    due = range(max(0, newest - RULES.window_epochs + 1), newest + 1)
    assert standings.window_epochs == len(facts.keys() & set(due))
    assert standings.window_complete == (facts.keys() >= set(due))


def test_filling_a_gap_changes_the_epochs_whose_window_has_it_and_no_others() -> None:
    facts = {epoch: facts_of(epoch, {0: (KEPT, 1.0)}) for epoch in range(20)}
    del facts[7]
    before = {epoch: alone(facts, epoch) for epoch in facts}
    filled = facts | {7: facts_of(7, {0: (MISSED, -0.7)})}
    changed = [epoch for epoch in facts if not same(before[epoch], alone(filled, epoch))]
    assert changed == list(range(8, 7 + RULES.window_epochs))


def test_what_lies_a_half_life_back_counts_half() -> None:
    facts = {0: facts_of(0, {0: (MISSED, 0.0)}), 3: facts_of(3, {0: (KEPT, 1.0)})}
    assert alone(facts, 3).time_weighted_score[0] == pytest.approx(1 / 1.5)


def test_epochs_before_the_first_one_of_the_chain_are_no_gap() -> None:
    facts = {epoch: facts_of(epoch, {0: (KEPT, 1.0)}) for epoch in range(3)}
    assert alone(facts, 2).window_complete
    assert not alone({2: facts[2]}, 2).window_complete


def test_an_epoch_without_known_duties_neither_counts_as_a_miss_nor_ends_a_streak() -> None:
    unknown = replace(facts_of(2, {}), duties_known=False)
    facts = {
        0: facts_of(0, {0: (MISSED, 0.0)}),
        1: facts_of(1, {0: (MISSED, 0.0)}),
        2: unknown,
        3: facts_of(3, {0: (MISSED, 0.5)}),
    }
    standings = alone(facts, 3)
    assert standings.missed_streak[0] == 3
    assert standings.judged_epochs[0] == 3
    without = {epoch: one for epoch, one in facts.items() if epoch != 2}
    assert same(standings, alone(without, 3))
    assert alone(facts, 2).missed_streak[0] == 2


def test_a_window_with_an_epoch_without_known_duties_is_not_complete() -> None:
    facts = {epoch: facts_of(epoch, {0: (KEPT, 1.0)}) for epoch in range(3)}
    facts[1] = replace(facts_of(1, {}), duties_known=False)
    standings = alone(facts, 2)
    assert (standings.window_epochs, standings.window_complete) == (2, False)
    assert standings.duties_known
    assert not alone(facts, 1).duties_known


def test_epochs_come_in_order() -> None:
    window = StandingsWindow(RULES)
    window.add(facts_of(4, {}))
    with pytest.raises(ValueError, match="epoch 4 comes after epoch 4"):
        window.add(facts_of(4, {}))


def test_a_miss_that_could_not_be_helped_is_excused() -> None:
    included = np.array([True, False, False, False])
    possible = np.array([True, True, False, True])
    excused = np.array([True, False, False, True])
    assert duty_results(included, possible, excused).tolist() == [KEPT, MISSED, EXCUSED, EXCUSED]


def test_the_score_is_the_attainable_one_where_there_is_one() -> None:
    duty = np.array([KEPT, KEPT, MISSED, EXCUSED, NO_DUTY, KEPT], dtype=np.int8)
    slashed = np.array([False, False, False, False, False, True])
    attainable = np.array([0.8, np.nan, -0.7, -0.7, -0.9, np.nan])
    attestation = np.array([1.0, 0.5, 0.0, np.nan, np.nan, 1.0])
    scores = epoch_score(duty, slashed, attainable, attestation)
    np.testing.assert_array_equal(scores, [0.8, 0.5, -0.7, np.nan, np.nan, np.nan])


def test_a_single_miss_in_a_window_that_may_be_judged_makes_nobody_degraded() -> None:
    rules = StandingRules()
    worst_loss = 40 / 54
    for epochs in (rules.health.minimum_judged_epochs, rules.window_epochs):
        facts = {epoch: facts_of(epoch, {0: (KEPT, 1.0)}) for epoch in range(epochs - 1)}
        facts[epochs - 1] = facts_of(epochs - 1, {0: (MISSED, -worst_loss)})
        score = alone(facts, epochs - 1, rules).time_weighted_score[0]
        assert rules.health.degraded_below < score < 1
