"""opening + components + residual = closing, and a residual has the class of what is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given

from valmon_pipeline.ledger.balance_ledger import balance_ledger, residual_of
from valmon_pipeline.ledger.postings import Component, Postings, Stage
from valmon_pipeline.ledger.residuals import ResidualClass, ResidualEvidence, residual_classes
from valmon_pipeline.ledger.unknown import UnknownComponents
from valmon_pipeline_tests.ledger.test_postings import MOVEMENTS, OPENING, ROWS, joined

NOTHING = np.zeros(1, dtype=np.bool_)


def evidence(rows: int = 1, **known: Any) -> ResidualEvidence:
    nothing = np.zeros(rows, dtype=np.bool_)
    facts: dict[str, Any] = {
        "correlation_due": nothing,
        "consolidated": nothing,
        "switched": nothing,
        "compounding": nothing,
        "queue_unknown": False,
        "minimum_deposit": 10**9,
    }
    return ResidualEvidence(**(facts | known))


def all_known(rows: int = 1) -> UnknownComponents:
    return UnknownComponents.of_facts(rows, {})


@given(MOVEMENTS, OPENING, OPENING)
def test_the_identity_holds_whatever_happens(
    movements: list[tuple[int, int, Stage, Component, int]], opening: list[int], closing: list[int]
) -> None:
    before, after = np.array(opening), np.array(closing)
    postings = joined(movements)
    ledger = balance_ledger(before, after, postings, evidence(ROWS), all_known(ROWS))
    explained = ledger.opening_balance + ledger.residual
    for amount in ledger.components.values():
        explained = explained + amount
    assert explained.tolist() == after.tolist()
    assert ledger.residual.tolist() == residual_of(before, after, postings).tolist()
    assert ((ledger.residual == 0) == (ledger.residual_class == -1)).all()


@given(MOVEMENTS, OPENING)
def test_what_happened_leaves_no_residual(
    movements: list[tuple[int, int, Stage, Component, int]], opening: list[int]
) -> None:
    before = np.array(opening)
    postings = joined(movements)
    after = before + postings.floored(before).total(ROWS)
    assert not residual_of(before, after, postings).any()


@pytest.mark.parametrize(
    ("residual", "known", "expected"),
    [
        (0, {"queue_unknown": True}, None),
        (-1, {}, ResidualClass.UNEXPLAINED),
        (1, {}, ResidualClass.UNEXPLAINED),
        (-1, {"correlation_due": ~NOTHING}, ResidualClass.SLASHING_CORRELATION),
        (1, {"correlation_due": ~NOTHING}, ResidualClass.UNEXPLAINED),
        (-1, {"consolidated": ~NOTHING}, ResidualClass.CONSOLIDATION),
        (1, {"switched": ~NOTHING}, ResidualClass.COMPOUNDING_SWITCH),
        (10**9, {"queue_unknown": True}, ResidualClass.PENDING_DEPOSIT),
        (10**9, {}, ResidualClass.UNEXPLAINED),
        (10**9 - 1, {"queue_unknown": True}, ResidualClass.UNEXPLAINED),
        (5, {"queue_unknown": True, "compounding": ~NOTHING}, ResidualClass.PENDING_DEPOSIT),
        (-5, {"queue_unknown": True, "compounding": ~NOTHING}, ResidualClass.UNEXPLAINED),
    ],
)
def test_a_class_needs_its_evidence(
    residual: int, known: dict[str, Any], expected: ResidualClass | None
) -> None:
    because = all_known().because
    (code,) = residual_classes(np.array([residual]), evidence(**known), NOTHING, because).tolist()
    assert code == (-1 if expected is None else expected.code)


def test_penalties_that_stopped_at_zero_are_no_mistake() -> None:
    taken = Postings.one(0, 9, Stage.SYNC_AGGREGATE, Component.SYNC, -50)
    ledger = balance_ledger(np.array([20]), np.array([0]), taken, evidence(), all_known())
    assert ledger.components[Component.SYNC].tolist() == [-20]
    assert ledger.residual.tolist() == [0]
    # What the balance still had is more than the movements left: seats are fined one by one.
    ledger = balance_ledger(np.array([20]), np.array([10]), taken, evidence(), all_known())
    assert ledger.residual_class.tolist() == [ResidualClass.BALANCE_FLOOR.code]


def test_a_row_that_lacks_a_component_has_no_residual_but_the_class_of_what_is_missing() -> None:
    first, second, both, neither = np.eye(4, dtype=np.bool_)
    unknown = UnknownComponents.of_facts(
        4, {Component.SYNC: first | both, Component.PARTIAL_WITHDRAWALS: second | both}
    )
    opening, closing = np.full(4, 32 * 10**9), np.full(4, 31 * 10**9)
    nothing = Postings.joined([])
    ledger = balance_ledger(opening, closing, nothing, evidence(4), unknown)
    assert [list(ResidualClass)[code].value for code in ledger.residual_class] == [
        "sync_unknown",
        "withdrawals_unknown",
        "sync_unknown",
        "unexplained",
    ]
    assert ledger.unknown.any.tolist() == (~neither).tolist()
    assert np.ma.getmaskarray(ledger.component(Component.SYNC)).tolist() == (first | both).tolist()
    assert not np.ma.getmaskarray(ledger.component(Component.DEPOSITS)).any()


def test_what_follows_from_a_balance_is_as_unknown_as_the_balance() -> None:
    lacks_sync, booked = np.array([True, True, False, False]), np.array([True, False, True, False])
    nowhere, zero = np.zeros(4, dtype=np.bool_), np.array([False, True, False, True])
    unknown = UnknownComponents.of_facts(4, {Component.SYNC: lacks_sync})
    followed = unknown.and_what_follows({Component.COMPOUNDING_SWITCH: booked}, nowhere)
    assert followed.masks[Component.COMPOUNDING_SWITCH].tolist() == (lacks_sync & booked).tolist()
    assert not followed.masks[Component.SLASHING].any()
    # A balance that may have stopped at zero leaves no movement certain.
    near_zero = unknown.and_what_follows({}, zero)
    assert near_zero.masks[Component.SLASHING].tolist() == (lacks_sync & zero).tolist()
