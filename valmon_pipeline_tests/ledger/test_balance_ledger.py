"""opening + components + residual = closing, and a residual has the class of what is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given

from valmon_pipeline.ledger.balance_ledger import balance_ledger, residual_of
from valmon_pipeline.ledger.postings import Component, Postings, Stage
from valmon_pipeline.ledger.residuals import ResidualClass, ResidualEvidence, residual_classes
from valmon_pipeline_tests.ledger.test_postings import MOVEMENTS, OPENING, ROWS, joined

NOTHING = np.zeros(1, dtype=np.bool_)


def evidence(rows: int = 1, **known: Any) -> ResidualEvidence:
    nothing = np.zeros(rows, dtype=np.bool_)
    facts: dict[str, Any] = {
        "attestation_unknown": nothing,
        "correlation_due": nothing,
        "consolidated": nothing,
        "switched": nothing,
        "compounding": nothing,
        "queue_unknown": False,
        "minimum_deposit": 10**9,
    }
    return ResidualEvidence(**(facts | known))


@given(MOVEMENTS, OPENING, OPENING)
def test_the_identity_holds_whatever_happens(
    movements: list[tuple[int, int, Stage, Component, int]], opening: list[int], closing: list[int]
) -> None:
    before, after = np.array(opening), np.array(closing)
    postings = joined(movements)
    ledger = balance_ledger(before, after, postings, evidence(ROWS))
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
        (-1, {"attestation_unknown": ~NOTHING}, ResidualClass.ATTESTATION_UNKNOWN),
        (10**9, {"attestation_unknown": ~NOTHING}, ResidualClass.UNEXPLAINED),
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
    (code,) = residual_classes(np.array([residual]), evidence(**known), NOTHING).tolist()
    assert code == (-1 if expected is None else expected.code)


def test_penalties_that_stopped_at_zero_are_no_mistake() -> None:
    taken = Postings.one(0, 9, Stage.SYNC_AGGREGATE, Component.SYNC, -50)
    ledger = balance_ledger(np.array([20]), np.array([0]), taken, evidence())
    assert ledger.components[Component.SYNC].tolist() == [-20]
    assert ledger.residual.tolist() == [0]
    # What the balance still had is more than the movements left: seats are fined one by one.
    ledger = balance_ledger(np.array([20]), np.array([10]), taken, evidence())
    assert ledger.residual_class.tolist() == [ResidualClass.BALANCE_FLOOR.code]
