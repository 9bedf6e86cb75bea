"""What reward formulas take from the network as a whole: sums, known only with the whole registry
or from a state, and whether there was a leak."""

from __future__ import annotations

from dataclasses import dataclass

from valmon_pipeline.chain.attestations import AttestationOutcomes
from valmon_pipeline.chain.registry import BoolArray, Int64Array, ValidatorRegistry
from valmon_pipeline.chain.rewards import (
    FlagBalances,
    base_reward_per_increment,
    is_inactivity_leak,
    participating_balances,
    total_active_balance,
)
from valmon_pipeline.chain.slashings import slashed_at_end_of_epoch
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.epoch.epoch_answers import EpochAnswers


@dataclass(frozen=True, slots=True)
class NetworkTotals:
    """Network-wide sums behind the rewards of epoch E, in gwei; None where they are not known.

    ``total_active_balance`` is that of E+1, in which rewards of target epoch E are applied;
    ``total_active_balance_at_start`` is that of E, which prices the sync committee's work in E.
    ``participating`` sums the effective balances (of E+1) of unslashed validators active in E that
    earned each flag.

    A state tells everything but ``total_active_balance_at_start``. The registry at the end of the
    epoch does not tell ``participating`` without the members of all committees.
    """

    total_active_balance_at_start: int | None
    total_active_balance: int | None
    base_reward_per_increment: int | None
    participating: FlagBalances | None


def network_totals(
    spec: ChainSpec, answers: EpochAnswers, outcomes: AttestationOutcomes | None
) -> NetworkTotals:
    """The sums for the epoch of ``answers``, as far as the whole network is known."""
    at_start = answers.registry_at_start if answers.whole_registry else None
    at_end = answers.registry_at_end if answers.whole_registry else None
    by_state = answers.network_rewards
    total, participating = None, None
    if at_end is not None:
        total = total_active_balance(spec, at_end, answers.epoch + 1)
    elif by_state is not None:
        total = by_state.total_active_balance
    if at_end is not None and outcomes is not None and are_named(outcomes.validator_index):
        slashed = slashed_when_rewarded(spec, answers, at_end)
        participating = participating_balances(outcomes, at_end, slashed)
    elif by_state is not None:
        participating = by_state.participating
    return NetworkTotals(
        total_active_balance_at_start=None
        if at_start is None
        else total_active_balance(spec, at_start, answers.epoch),
        total_active_balance=total,
        base_reward_per_increment=None if total is None else base_reward_per_increment(spec, total),
        participating=participating,
    )


def are_named(members: Int64Array) -> bool:
    """Whether every member of the committees is known: sources name only some."""
    return not len(members) or int(members.min()) >= 0


def leak_of(spec: ChainSpec, answers: EpochAnswers) -> bool | None:
    """Whether votes of the epoch are rewarded in an inactivity leak; None if that is not known."""
    finalized = answers.finalized_epoch_at_transition
    return None if finalized is None else is_inactivity_leak(spec, answers.epoch, finalized)


def slashed_when_rewarded(
    spec: ChainSpec, answers: EpochAnswers, at_end: ValidatorRegistry
) -> BoolArray:
    """Slashed flags of the registry at the end of the epoch (n) at the end of E+1, when E is
    rewarded."""
    blocks = [answers.blocks[slot] for slot in answers.canonical.slot.tolist()]
    return slashed_at_end_of_epoch(spec, answers.epoch + 1, at_end, blocks)
