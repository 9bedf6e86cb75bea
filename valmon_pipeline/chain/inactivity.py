"""Inactivity scores and the penalties that follow from them.

Sources: consensus-specs, ``process_inactivity_updates`` and ``get_inactivity_penalty_deltas`` of
``specs/altair/beacon-chain.md`` and ``specs/bellatrix/beacon-chain.md``.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from valmon_pipeline.chain.registry import BoolArray, Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import ChainRuleViolationError

_INT64_MAX: Final = 2**63 - 1


def updated_inactivity_scores(
    spec: ChainSpec, score: Int64Array, eligible: BoolArray, voted: BoolArray, leak: bool
) -> Int64Array:
    """Return the scores (n) after the transition that rewards the votes of an epoch.

    ``score`` (n) is that before it; ``voted`` (n): unslashed, with a timely vote for the target.
    """
    updated = np.where(voted, score - np.minimum(score, 1), score + spec.inactivity_score_bias)
    if not leak:
        updated -= np.minimum(updated, spec.inactivity_score_recovery_rate)
    return np.where(eligible, updated, score)


def inactivity_penalties(
    spec: ChainSpec, epoch: int, effective_balance: Int64Array, score: Int64Array
) -> Int64Array:
    """Return what each validator (n) loses for its updated ``score`` (n), in gwei, positive.

    It is due from the eligible that have no timely target vote. ``epoch`` is that at whose end the
    transition applies it; its fork decides the quotient.

    Raises:
        ChainRuleViolationError: a penalty does not fit int64, so the score is none.
    """
    quotient = spec.inactivity_penalty_quotient[spec.fork_at_epoch(epoch)]
    denominator = spec.inactivity_score_bias * quotient
    most = int(effective_balance.max(initial=0))
    if int(score.max(initial=0)) <= _INT64_MAX // max(1, most):
        return effective_balance * score // denominator
    exact = [
        one * other // denominator
        for one, other in zip(effective_balance.tolist(), score.tolist(), strict=True)
    ]
    if max(exact) > _INT64_MAX:
        raise ChainRuleViolationError(
            f"an inactivity score of {int(score.max())} is one that no validator has"
        )
    return np.array(exact, dtype=np.int64)
