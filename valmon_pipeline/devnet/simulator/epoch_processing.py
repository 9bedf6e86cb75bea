"""The transition into the next epoch, step by step in the order of the specification.

Source: consensus-specs, ``process_epoch`` of Deneb, Electra and Fulu.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.simulator import rewards
from valmon_pipeline.devnet.simulator.churn import (
    activation_exit_churn_limit,
    initiate_validator_exit,
    validator_churn_limit,
)
from valmon_pipeline.devnet.simulator.deposits import apply_deposit
from valmon_pipeline.devnet.simulator.entropy import Entropy
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.shuffling import draw_sync_committee
from valmon_pipeline.devnet.simulator.state import Checkpoint, Int64Array, PendingDeposit, State


@dataclass(frozen=True, slots=True)
class RewardedEpoch:
    """What a transition paid for the attestations of target ``epoch``; deltas per validator (n)."""

    epoch: int
    participation: rewards.Participation
    deltas: rewards.AttestationDeltas


def process_epoch(parameters: Parameters, entropy: Entropy, state: State) -> RewardedEpoch | None:
    """Apply the transition at the end of the epoch of ``state.slot``, its last slot.

    Returns what was paid for attestations; None at the end of epoch 0, which pays nothing.
    """
    epoch = parameters.epoch_of(state.slot)
    electra = parameters.fork_at(epoch) >= Fork.ELECTRA
    _process_justification_and_finalization(parameters, state, epoch)
    rewarded = None
    if epoch > 0:
        leak = is_in_inactivity_leak(parameters, state, epoch)
        _process_inactivity_updates(parameters, state, epoch, leak)
        rewarded = _process_rewards_and_penalties(parameters, state, epoch, leak)
    if electra:
        _process_registry_updates(parameters, state, epoch)
    else:
        _process_registry_updates_of_deneb(parameters, state, epoch)
    _process_slashings(parameters, state, epoch, electra=electra)
    if electra:
        _process_pending_deposits(parameters, state, epoch)
        _process_pending_consolidations(state, epoch)
    _process_effective_balance_updates(parameters, state)
    state.slashings[(epoch + 1) % parameters.epochs_per_slashings_vector] = 0
    validators = state.validators
    validators.previous_participation = validators.current_participation
    validators.current_participation = np.zeros(len(validators), np.uint8)
    if (epoch + 1) % parameters.epochs_per_sync_committee_period == 0:
        state.current_sync_committee = state.next_sync_committee
        state.next_sync_committee = sync_committee_drawn_at(parameters, entropy, state, epoch + 1)
    return rewarded


def sync_committee_drawn_at(
    parameters: Parameters, entropy: Entropy, state: State, epoch: int
) -> Int64Array:
    """``get_next_sync_committee``, drawn as of ``epoch``."""
    active = np.flatnonzero(state.validators.is_active(epoch))
    balances = state.validators.effective_balance[active]
    return draw_sync_committee(parameters, entropy, epoch, active, balances, state.roots[-1])


def is_in_inactivity_leak(parameters: Parameters, state: State, epoch: int) -> bool:
    """``is_in_inactivity_leak`` in the transition at the end of ``epoch``."""
    delay = max(epoch - 1, 0) - state.finalized.epoch
    return delay > parameters.min_epochs_to_inactivity_penalty


def eligible_validators(state: State, previous_epoch: int) -> rewards.BoolArray:
    """``get_eligible_validator_indices`` as a mask (n)."""
    validators = state.validators
    lingering = validators.slashed & (previous_epoch + 1 < validators.withdrawable_epoch)
    return validators.is_active(previous_epoch) | lingering


def _process_justification_and_finalization(
    parameters: Parameters, state: State, epoch: int
) -> None:
    if epoch <= 1:
        return
    validators = state.validators

    def target_balance(at: int, flags: rewards.Flags) -> int:
        counted = validators.is_active(at) & ~validators.slashed
        voted = counted & rewards.has_flag(flags, rewards.TIMELY_TARGET)
        total = int(validators.effective_balance[voted].sum())
        return max(parameters.effective_balance_increment, total)

    previous = target_balance(epoch - 1, validators.previous_participation)
    current = target_balance(epoch, validators.current_participation)
    old_previous, old_current = state.previous_justified, state.current_justified
    state.previous_justified = old_current
    bits = [False, *state.justification_bits[:3]]
    if previous * 3 >= state.total_active_balance * 2:
        state.current_justified = checkpoint(parameters, state, epoch - 1)
        bits[1] = True
    if current * 3 >= state.total_active_balance * 2:
        state.current_justified = checkpoint(parameters, state, epoch)
        bits[0] = True
    state.justification_bits = (bits[0], bits[1], bits[2], bits[3])
    if all(bits[1:4]) and old_previous.epoch + 3 == epoch:
        state.finalized = old_previous
    if all(bits[1:3]) and old_previous.epoch + 2 == epoch:
        state.finalized = old_previous
    if all(bits[0:3]) and old_current.epoch + 2 == epoch:
        state.finalized = old_current
    if all(bits[0:2]) and old_current.epoch + 1 == epoch:
        state.finalized = old_current


def checkpoint(parameters: Parameters, state: State, epoch: int) -> Checkpoint:
    """The checkpoint of an epoch on the chain of ``state``."""
    return Checkpoint(epoch, state.roots[parameters.first_slot(epoch)])


def _process_inactivity_updates(
    parameters: Parameters, state: State, epoch: int, leak: bool
) -> None:
    validators = state.validators
    score = validators.inactivity_score
    eligible = eligible_validators(state, epoch - 1)
    timely = ~validators.slashed & rewards.has_flag(
        validators.previous_participation, rewards.TIMELY_TARGET
    )
    updated = np.where(
        timely, score - np.minimum(1, score), score + parameters.inactivity_score_bias
    )
    if not leak:
        updated = updated - np.minimum(parameters.inactivity_score_recovery_rate, updated)
    validators.inactivity_score = np.where(eligible, updated, score)


def _process_rewards_and_penalties(
    parameters: Parameters, state: State, epoch: int, leak: bool
) -> RewardedEpoch:
    validators = state.validators
    network = rewards.participation(
        parameters,
        validators.effective_balance,
        validators.previous_participation,
        validators.is_active(epoch - 1) & ~validators.slashed,
        state.total_active_balance,
        leak=leak,
    )
    deltas = rewards.attestation_deltas(
        parameters,
        network,
        validators.effective_balance,
        validators.previous_participation,
        validators.slashed,
        eligible_validators(state, epoch - 1),
        validators.inactivity_score,
    )
    # One after the other: a balance that reaches 0 stays there for the rest of that component.
    for delta in (deltas.source, deltas.target, deltas.head, deltas.inactivity):
        validators.balance = np.maximum(0, validators.balance + delta)
    return RewardedEpoch(epoch - 1, network, deltas)


def _process_registry_updates(parameters: Parameters, state: State, epoch: int) -> None:
    validators = state.validators
    queued = (validators.activation_eligibility_epoch == NEVER) & (
        validators.effective_balance >= parameters.min_activation_balance
    )
    activated = (
        ~queued
        & (validators.activation_eligibility_epoch <= state.finalized.epoch)
        & (validators.activation_epoch == NEVER)
    )
    ejected = (
        ~queued
        & validators.is_active(epoch)
        & (validators.effective_balance <= parameters.ejection_balance)
    )
    for index in np.flatnonzero(ejected).tolist():
        initiate_validator_exit(parameters, state, index)
    validators.activation_eligibility_epoch[queued] = epoch + 1
    validators.activation_epoch[activated] = parameters.activation_exit_epoch(epoch)


def _process_registry_updates_of_deneb(parameters: Parameters, state: State, epoch: int) -> None:
    validators = state.validators
    queued = (validators.activation_eligibility_epoch == NEVER) & (
        validators.effective_balance == parameters.max_effective_balance
    )
    validators.activation_eligibility_epoch[queued] = epoch + 1
    ejected = validators.is_active(epoch) & (
        validators.effective_balance <= parameters.ejection_balance
    )
    for index in np.flatnonzero(ejected).tolist():
        initiate_validator_exit(parameters, state, index)
    waiting = np.flatnonzero(
        (validators.activation_eligibility_epoch <= state.finalized.epoch)
        & (validators.activation_epoch == NEVER)
    )
    order = np.argsort(validators.activation_eligibility_epoch[waiting], kind="stable")
    limit = min(
        parameters.max_per_epoch_activation_churn_limit, validator_churn_limit(parameters, state)
    )
    dequeued = waiting[order][:limit]
    validators.activation_epoch[dequeued] = parameters.activation_exit_epoch(epoch)


def _process_slashings(parameters: Parameters, state: State, epoch: int, *, electra: bool) -> None:
    validators = state.validators
    halfway = epoch + parameters.epochs_per_slashings_vector // 2
    due = np.flatnonzero(validators.slashed & (validators.withdrawable_epoch == halfway))
    if len(due) == 0:
        return
    penalty = rewards.correlation_penalty(
        parameters,
        validators.effective_balance[due],
        int(state.slashings.sum()),
        state.total_active_balance,
        electra=electra,
    )
    validators.balance[due] = np.maximum(0, validators.balance[due] - penalty)


def _process_pending_deposits(parameters: Parameters, state: State, epoch: int) -> None:
    available = state.deposit_balance_to_consume + activation_exit_churn_limit(parameters, state)
    finalized_slot = parameters.first_slot(state.finalized.epoch)
    start_index = state.deposit_requests_start_index
    bridge_is_open = start_index is None or state.eth1_deposit_index < start_index
    processed_amount = processed = 0
    postponed: list[PendingDeposit] = []
    limit_reached = False
    for deposit in state.pending_deposits[: parameters.max_pending_deposits_per_epoch]:
        if deposit.slot > 0 and bridge_is_open:
            break
        if deposit.slot > finalized_slot:
            break
        index = state.index_of.get(deposit.pubkey)
        validators = state.validators
        if index is not None and validators.withdrawable_epoch[index] < epoch + 1:
            apply_deposit(parameters, state, deposit)
        elif index is not None and validators.exit_epoch[index] != NEVER:
            postponed.append(deposit)
        else:
            limit_reached = processed_amount + deposit.amount > available
            if limit_reached:
                break
            processed_amount += deposit.amount
            apply_deposit(parameters, state, deposit)
        processed += 1
    state.pending_deposits = state.pending_deposits[processed:] + postponed
    state.deposit_balance_to_consume = available - processed_amount if limit_reached else 0


def _process_pending_consolidations(state: State, epoch: int) -> None:
    validators = state.validators
    done = 0
    for entry in state.pending_consolidations:
        source, target = entry.source_index, entry.target_index
        if not validators.slashed[source]:
            if validators.withdrawable_epoch[source] > epoch + 1:
                break
            moved = min(int(validators.balance[source]), int(validators.effective_balance[source]))
            state.decrease_balance(source, moved)
            validators.balance[target] += moved
        done += 1
    state.pending_consolidations = state.pending_consolidations[done:]


def _process_effective_balance_updates(parameters: Parameters, state: State) -> None:
    validators = state.validators
    increment = parameters.effective_balance_increment
    hysteresis = increment // parameters.hysteresis_quotient
    downward = hysteresis * parameters.hysteresis_downward_multiplier
    upward = hysteresis * parameters.hysteresis_upward_multiplier
    balance, effective = validators.balance, validators.effective_balance
    moved = (balance + downward < effective) | (effective + upward < balance)
    rounded = np.minimum(balance - balance % increment, state.max_effective_balance(parameters))
    validators.effective_balance = np.where(moved, rounded, effective)
