"""Attestation rewards and penalties since Altair, to the gwei.

All balances are those of epoch E + 1 when the votes of target epoch E are rewarded. Every division
floors non-negative integers in the order given. Sources: consensus-specs,
``specs/altair/beacon-chain.md``: ``get_base_reward``, ``get_flag_index_deltas``; phase0:
``get_total_active_balance``, ``is_in_inactivity_leak``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

import numpy as np

from valmon_pipeline.chain.attestations import AttestationOutcomes
from valmon_pipeline.chain.registry import BoolArray, Int64Array, ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.status import is_active
from valmon_pipeline.chain.weights import (
    TIMELY_HEAD_WEIGHT,
    TIMELY_SOURCE_WEIGHT,
    TIMELY_TARGET_WEIGHT,
    WEIGHT_DENOMINATOR,
)
from valmon_pipeline.errors import ChainRuleViolationError


@dataclass(frozen=True, slots=True)
class FlagBalances:
    """Effective balance (gwei) of the unslashed validators active in E that earned each flag."""

    source: int
    target: int
    head: int


@dataclass(frozen=True, slots=True)
class AttestationRewardColumns:
    """Gwei (n) per component of an attestation's reward."""

    source: Int64Array
    target: Int64Array
    head: Int64Array

    @property
    def total(self) -> Int64Array:
        """Sum of the three components (n), gwei."""
        return self.source + self.target + self.head

    def of_rows(self, rows: Int64Array) -> AttestationRewardColumns:
        """The given rows (m), in any order and number."""
        return AttestationRewardColumns(self.source[rows], self.target[rows], self.head[rows])


@dataclass(frozen=True, slots=True)
class AttestationPenalties:
    """Gwei (n) lost without the flag, as positive amounts; a missing head vote costs nothing."""

    source: Int64Array
    target: Int64Array

    def of_rows(self, rows: Int64Array) -> AttestationPenalties:
        """The given rows (m), in any order and number."""
        return AttestationPenalties(self.source[rows], self.target[rows])


def total_active_balance(spec: ChainSpec, registry: ValidatorRegistry, epoch: int) -> int:
    """Effective balance (gwei) active in ``epoch``, at least one increment.

    ``registry`` must hold the whole network, in the state of that epoch.
    """
    active = registry.effective_balance[is_active(registry, epoch)]
    return max(spec.effective_balance_increment, _exact_sum(active))


def participating_balances(
    outcomes: AttestationOutcomes, registry: ValidatorRegistry, slashed: BoolArray
) -> FlagBalances:
    """Balances behind each flag, from the outcomes of E.

    ``registry`` (n) holds at least everyone with a duty, with the effective balances of E + 1;
    ``slashed`` (n) is the state at the end of E + 1, see ``chain.slashings``: who was slashed
    meanwhile counts as absent.

    Raises:
        ChainRuleViolationError: a validator with a duty is not in the registry.
    """
    rows = registry.rows_of(outcomes.validator_index)
    effective_balance = registry.effective_balance[rows]
    unslashed = ~slashed[rows]
    return FlagBalances(
        source=_exact_sum(effective_balance[unslashed & outcomes.source_timely]),
        target=_exact_sum(effective_balance[unslashed & outcomes.target_timely]),
        head=_exact_sum(effective_balance[unslashed & outcomes.head_timely]),
    )


def base_reward_per_increment(spec: ChainSpec, total_active_balance: int) -> int:
    """Gwei of base reward for each increment of effective balance."""
    return spec.effective_balance_increment * spec.base_reward_factor // isqrt(total_active_balance)


def is_inactivity_leak(spec: ChainSpec, epoch: int, finalized_epoch: int) -> bool:
    """Whether the votes of target ``epoch`` are rewarded in a leak.

    ``finalized_epoch`` is that of the state after their transition, at the first slot of
    ``epoch + 2``.
    """
    return epoch - finalized_epoch > spec.min_epochs_to_inactivity_penalty


def ideal_attestation_rewards(
    spec: ChainSpec,
    effective_balance: Int64Array,
    total_active_balance: int,
    participating: FlagBalances,
    inactivity_leak: bool,
) -> AttestationRewardColumns:
    """What each effective balance (n, gwei) earns for a flag, given who else earned it.

    Zero for every flag in an inactivity leak.
    """
    increment = spec.effective_balance_increment
    per_increment = base_reward_per_increment(spec, total_active_balance)
    active_increments = total_active_balance // increment

    def component(weight: int, participating_balance: int) -> Int64Array:
        participating_increments = max(increment, participating_balance) // increment
        return _per_increments(
            spec,
            effective_balance,
            lambda increments: (
                0
                if inactivity_leak
                else (increments * per_increment * weight * participating_increments)
                // (active_increments * WEIGHT_DENOMINATOR)
            ),
        )

    return AttestationRewardColumns(
        source=component(TIMELY_SOURCE_WEIGHT, participating.source),
        target=component(TIMELY_TARGET_WEIGHT, participating.target),
        head=component(TIMELY_HEAD_WEIGHT, participating.head),
    )


def attestation_penalties(
    spec: ChainSpec, effective_balance: Int64Array, total_active_balance: int
) -> AttestationPenalties:
    """What each effective balance (n, gwei) loses without the source and the target flag."""
    per_increment = base_reward_per_increment(spec, total_active_balance)

    def component(weight: int) -> Int64Array:
        return _per_increments(
            spec,
            effective_balance,
            lambda increments: increments * per_increment * weight // WEIGHT_DENOMINATOR,
        )

    return AttestationPenalties(
        source=component(TIMELY_SOURCE_WEIGHT), target=component(TIMELY_TARGET_WEIGHT)
    )


def earned_attestation_rewards(
    source_timely: BoolArray,
    target_timely: BoolArray,
    head_timely: BoolArray,
    ideal: AttestationRewardColumns,
    penalties: AttestationPenalties,
    slashed: BoolArray,
) -> AttestationRewardColumns:
    """What each eligible validator (n) is credited for the flags it earned: the ideal reward with
    the flag, the penalty without (none for the head), and nothing but penalties if slashed.

    Source: consensus-specs, altair: ``get_flag_index_deltas``. Inactivity penalties are not in it:
    they take the scores of the state.
    """
    return AttestationRewardColumns(
        source=np.where(source_timely & ~slashed, ideal.source, -penalties.source),
        target=np.where(target_timely & ~slashed, ideal.target, -penalties.target),
        head=np.where(head_timely & ~slashed, ideal.head, np.int64(0)),
    )


def attainable_attestation_rewards(
    spec: ChainSpec,
    slot: Int64Array,
    earliest_inclusion_slot: Int64Array,
    ideal: AttestationRewardColumns,
    penalties: AttestationPenalties,
    slashed: BoolArray,
) -> AttestationRewardColumns:
    """The best each duty (n) could have earned given which slots had blocks.

    A flag is attainable if the earliest inclusion (-1 = none) is early enough for it and the
    validator is not slashed; otherwise source and target cost their penalty and head earns nothing.
    """
    possible = (earliest_inclusion_slot >= 0) & ~slashed
    delay = earliest_inclusion_slot - slot
    return AttestationRewardColumns(
        source=np.where(
            possible & (delay <= isqrt(spec.slots_per_epoch)), ideal.source, -penalties.source
        ),
        # The inclusion window never exceeds the target's own limit.
        target=np.where(possible, ideal.target, -penalties.target),
        head=np.where(
            possible & (delay == spec.min_attestation_inclusion_delay), ideal.head, np.int64(0)
        ),
    )


def _per_increments(
    spec: ChainSpec, effective_balance: Int64Array, formula: Callable[[int], int]
) -> Int64Array:
    """``formula`` of the increments of each balance (n).

    Evaluated once per distinct balance with Python's integers, so that no product can overflow.
    """
    if len(effective_balance) and int(effective_balance.min()) < 0:
        raise ChainRuleViolationError(
            f"effective balance {int(effective_balance.min())} gwei is negative"
        )
    distinct, row = np.unique(
        effective_balance // spec.effective_balance_increment, return_inverse=True
    )
    return np.array([formula(increments) for increments in distinct.tolist()], dtype=np.int64)[row]


def _exact_sum(gwei: Int64Array) -> int:
    """The sum as a Python integer; halves are added apart, as their sums cannot overflow."""
    high, low = gwei >> 32, gwei & 0xFFFF_FFFF
    return (int(high.sum()) << 32) + int(low.sum())
