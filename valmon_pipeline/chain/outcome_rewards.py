"""Attestation rewards of the whole network from blocks alone, without the rewards of a node.

Sources: consensus-specs, altair: ``get_flag_index_deltas``, ``get_inactivity_penalty_deltas``,
``get_eligible_validator_indices``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from valmon_pipeline.chain.attestations import AttestationOutcomes
from valmon_pipeline.chain.inactivity import inactivity_penalties, updated_inactivity_scores
from valmon_pipeline.chain.registry import BoolArray, Int64Array, ValidatorRegistry
from valmon_pipeline.chain.rewards import (
    attestation_penalties,
    earned_attestation_rewards,
    ideal_attestation_rewards,
    participating_balances,
)
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.status import is_active, is_eligible
from valmon_pipeline.errors import ChainRuleViolationError


@dataclass(frozen=True, slots=True)
class OutcomeRewards:
    """One row per eligible validator (m), ascending by ``validator_index``; gwei.

    ``source``, ``target``, ``head`` and ``inactivity`` are negative where fined, floored as the
    chain does. ``inactivity`` means nothing (it is 0) where ``inactivity_known`` is False.
    """

    validator_index: Int64Array
    source: Int64Array
    target: Int64Array
    head: Int64Array
    inactivity: Int64Array
    inactivity_known: BoolArray

    def __len__(self) -> int:
        return len(self.validator_index)


def attestation_rewards_of_outcomes(
    spec: ChainSpec,
    epoch: int,
    outcomes: AttestationOutcomes,
    registry: ValidatorRegistry,
    slashed: BoolArray,
    total_active_balance: int,
    *,
    inactivity_leak: bool,
    inactivity_scores: Int64Array | None = None,
) -> OutcomeRewards:
    """Return what the votes of target ``epoch`` (E) earned everybody eligible.

    ``outcomes`` are those of all duties of E. ``registry`` (n) is the whole network's in the state
    of the first slot of E + 1; ``slashed`` (n) are the flags at the end of E + 1, see
    ``chain.slashings.slashed_at_end_of_epoch``; ``total_active_balance`` (gwei) is that of E + 1.
    ``inactivity_leak``: see ``chain.rewards.is_inactivity_leak``. ``inactivity_scores`` (n) are
    those of any state of E + 1, which the transition at its end has not updated yet. Without them
    the inactivity penalty is known where it is 0: with a timely target vote, or without an
    effective balance.

    Raises:
        ChainRuleViolationError: the outcomes are not those of everybody active in E.
        UnsupportedForkError: E or E + 1 is before Altair or since Gloas.
    """
    spec.require_supported(epoch)
    spec.require_supported(epoch + 1)
    rows = registry.rows_of(outcomes.validator_index)
    _require_all_active(epoch, registry, rows)

    def by_validator(of_duty: BoolArray) -> BoolArray:
        column = np.zeros(len(registry), dtype=np.bool_)
        column[rows] = of_duty
        return column

    source, target, head = (
        by_validator(flag)
        for flag in (outcomes.source_timely, outcomes.target_timely, outcomes.head_timely)
    )
    participating = participating_balances(outcomes, registry, slashed)
    balance = registry.effective_balance
    earned = earned_attestation_rewards(
        source,
        target,
        head,
        ideal_attestation_rewards(
            spec, balance, total_active_balance, participating, inactivity_leak=inactivity_leak
        ),
        attestation_penalties(spec, balance, total_active_balance),
        slashed,
    )
    eligible = is_eligible(replace(registry, slashed=slashed), epoch)
    voted = target & ~slashed
    penalty = np.zeros(len(registry), dtype=np.int64)
    known = voted | (balance == 0)
    if inactivity_scores is not None:
        updated = updated_inactivity_scores(
            spec, inactivity_scores, eligible, voted, inactivity_leak
        )
        penalty[~voted] = inactivity_penalties(spec, epoch + 1, balance, updated)[~voted]
        known = np.ones(len(registry), dtype=np.bool_)
    return OutcomeRewards(
        validator_index=registry.validator_index[eligible],
        source=earned.source[eligible],
        target=earned.target[eligible],
        head=earned.head[eligible],
        inactivity=-penalty[eligible],
        inactivity_known=known[eligible],
    )


def _require_all_active(epoch: int, registry: ValidatorRegistry, rows: Int64Array) -> None:
    """Everybody active has one duty: otherwise balances behind the flags would be too small."""
    without = is_active(registry, epoch)
    active_count = int(without.sum())
    strangers = ~without[rows]
    without[rows] = False
    wrong = [
        *registry.validator_index[rows[strangers]].tolist(),
        *registry.validator_index[without].tolist(),
    ]
    if wrong:
        raise ChainRuleViolationError(
            f"epoch {epoch} has {len(rows)} duties but {active_count} active validators (first "
            f"that differs: {wrong[0]}): rewards follow from blocks only where the outcomes of the "
            "whole network are known; give those of all committees, and the registry of their "
            "chain"
        )
