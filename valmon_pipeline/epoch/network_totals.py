"""Sums over the network that reward formulas divide by; known only with the whole registry, or from
a state."""

from __future__ import annotations

from dataclasses import dataclass

from valmon_pipeline.chain.attestations import AttestationOutcomes
from valmon_pipeline.chain.registry import BoolArray
from valmon_pipeline.chain.rewards import (
    FlagBalances,
    base_reward_per_increment,
    participating_balances,
    total_active_balance,
)
from valmon_pipeline.chain.slashings import slashed_at_end_of_epoch
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.epoch.epoch_answers import EpochAnswers


@dataclass(frozen=True, slots=True)
class NetworkTotals:
    """Network-wide sums behind the rewards of epoch E, in gwei.

    ``total_active_balance`` is that of E+1, in which rewards of target epoch E are applied;
    ``total_active_balance_at_start`` is that of E, which prices the sync committee's work in E.
    ``participating`` sums the effective balances (of E+1) of unslashed validators active in E that
    earned each flag.

    A state tells everything but ``total_active_balance_at_start``, which is None then.
    """

    total_active_balance_at_start: int | None
    total_active_balance: int
    base_reward_per_increment: int
    participating: FlagBalances


def network_totals(
    spec: ChainSpec, answers: EpochAnswers, outcomes: AttestationOutcomes
) -> NetworkTotals | None:
    """The sums for the epoch of ``answers``, or None if only some validators are known."""
    if not answers.whole_registry:
        return _totals_of_state(spec, answers)
    total = total_active_balance(spec, answers.registry_at_end, answers.epoch + 1)
    return NetworkTotals(
        total_active_balance_at_start=total_active_balance(
            spec, answers.registry_at_start, answers.epoch
        ),
        total_active_balance=total,
        base_reward_per_increment=base_reward_per_increment(spec, total),
        participating=participating_balances(
            outcomes, answers.registry_at_end, slashed_when_rewarded(spec, answers)
        ),
    )


def _totals_of_state(spec: ChainSpec, answers: EpochAnswers) -> NetworkTotals | None:
    rewards = answers.network_rewards
    if rewards is None:
        return None
    total = rewards.total_active_balance
    return NetworkTotals(
        total_active_balance_at_start=None,
        total_active_balance=total,
        base_reward_per_increment=base_reward_per_increment(spec, total),
        participating=rewards.participating,
    )


def slashed_when_rewarded(spec: ChainSpec, answers: EpochAnswers) -> BoolArray:
    """Slashed flags of ``answers.registry_at_end`` (n) at the end of E+1, when E is rewarded."""
    blocks = [answers.blocks[slot] for slot in answers.canonical.slot.tolist()]
    return slashed_at_end_of_epoch(spec, answers.epoch + 1, answers.registry_at_end, blocks)
