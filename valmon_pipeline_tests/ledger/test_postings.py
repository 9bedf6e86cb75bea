"""Movements are summed exactly, in the order of the chain, and no balance falls below zero."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.ledger.postings import Component, Postings, Stage

ROWS = 4
GWEI = st.integers(-(2**40), 2**40)
MOVEMENTS = st.lists(
    st.tuples(
        st.integers(0, ROWS - 1),
        st.integers(8, 16),
        st.sampled_from(Stage),
        st.sampled_from(Component),
        GWEI,
    ),
    max_size=30,
)
OPENING = st.lists(st.integers(0, 2**41), min_size=ROWS, max_size=ROWS)


def joined(movements: list[tuple[int, int, Stage, Component, int]]) -> Postings:
    return Postings.joined(Postings.one(*movement) for movement in movements)


@given(MOVEMENTS)
def test_components_add_up_to_the_total(
    movements: list[tuple[int, int, Stage, Component, int]],
) -> None:
    postings = joined(movements)
    by_component = postings.by_component(ROWS)
    assert sum(by_component.values()).tolist() == postings.total(ROWS).tolist()  # type: ignore[union-attr]
    for row in range(ROWS):
        assert postings.total(ROWS)[row] == sum(m[4] for m in movements if m[0] == row)


@given(MOVEMENTS, OPENING)
def test_balances_stop_at_zero_as_the_chain_lets_them(
    movements: list[tuple[int, int, Stage, Component, int]], opening: list[int]
) -> None:
    floored = joined(movements).floored(np.array(opening))
    for row, balance in enumerate(opening):
        ours = sorted((m for m in movements if m[0] == row), key=lambda m: (m[1], m[2]))
        for movement in ours:
            balance = max(0, balance + movement[4])
        assert opening[row] + floored.total(ROWS)[row] == balance


@given(MOVEMENTS, OPENING)
def test_a_balance_that_never_runs_out_is_left_alone(
    movements: list[tuple[int, int, Stage, Component, int]], opening: list[int]
) -> None:
    postings = joined(movements)
    enough = np.array(opening) + 30 * 2**40
    assert postings.floored(enough) is postings


def test_movements_of_a_slot_come_in_the_order_of_the_specification() -> None:
    opening = np.array([100])
    postings = joined(
        [
            (0, 9, Stage.SYNC_AGGREGATE, Component.SYNC, 7),
            (0, 9, Stage.WITHDRAWALS, Component.PARTIAL_WITHDRAWALS, -30),
            (0, 8, Stage.ATTESTATIONS, Component.PROPOSER, 11),
            (0, 9, Stage.ATTESTATION_DELTAS, Component.ATTESTATION, 5),
        ]
    )
    assert postings.balance_at(opening, 0, 9, Stage.ATTESTATION_DELTAS) == 111
    assert postings.balance_at(opening, 0, 9, Stage.WITHDRAWALS) == 116
    assert postings.balance_at(opening, 0, 9, Stage.REQUESTS) == 86
    assert postings.balance_at(opening, 0, 10, Stage.ATTESTATION_DELTAS) == 93


def test_nothing_moves_nothing() -> None:
    nothing = Postings.joined([])
    assert len(nothing) == 0
    assert nothing.total(2).tolist() == [0, 0]
    assert nothing.floored(np.array([1, 0])) is nothing
