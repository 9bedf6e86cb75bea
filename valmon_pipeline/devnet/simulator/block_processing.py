"""A block applied to the state, in the order of the specification.

Source: consensus-specs, ``process_block`` of Deneb, Electra and Fulu.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isqrt

import numpy as np

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.simulator import rewards
from valmon_pipeline.devnet.simulator.blocks import (
    Aggregate,
    AttestationData,
    CredentialChangeOperation,
    DepositOperation,
    Operations,
    ProposerRewards,
    VoluntaryExitOperation,
    Withdrawal,
)
from valmon_pipeline.devnet.simulator.churn import initiate_validator_exit
from valmon_pipeline.devnet.simulator.deposits import apply_deposit
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.requests import (
    process_consolidation_request,
    process_withdrawal_request,
    set_credentials,
)
from valmon_pipeline.devnet.simulator.state import (
    BLS_PREFIX,
    EXECUTION_PREFIX,
    BoolArray,
    PendingDeposit,
    State,
)
from valmon_pipeline.devnet.simulator.withdrawals import process_withdrawals


@dataclass(slots=True)
class BlockEffects:
    """What a block did, gwei.

    ``ignored`` says for requests of the execution layer, by position among withdrawal requests and
    then consolidation requests, why they had no effect.
    """

    withdrawals: tuple[Withdrawal, ...] = ()
    attestations: int = 0
    sync_aggregate: int = 0
    proposer_slashings: int = 0
    attester_slashings: int = 0
    participant_reward: int = 0
    initial_penalties: dict[int, int] = field(default_factory=dict)
    switched_excess: dict[int, int] = field(default_factory=dict)
    ignored: dict[int, str] = field(default_factory=dict)

    def proposer_rewards(self) -> ProposerRewards:
        """What the block paid its proposer."""
        return ProposerRewards(
            self.attestations,
            self.sync_aggregate,
            self.proposer_slashings,
            self.attester_slashings,
        )


def process_block(
    parameters: Parameters,
    state: State,
    proposer: int,
    operations: Operations,
    attestations: Sequence[Aggregate],
    sync_bits: BoolArray,
) -> BlockEffects:
    """Apply a block of ``state.slot``, whose state has been advanced to that slot."""
    effects = BlockEffects(withdrawals=process_withdrawals(parameters, state))
    for index in operations.proposer_slashings:
        effects.proposer_slashings += _slash(parameters, state, effects, index, proposer)
    for indices in operations.attester_slashings:
        for index in indices:
            if is_slashable(parameters, state, index):
                effects.attester_slashings += _slash(parameters, state, effects, index, proposer)
    for aggregate in attestations:
        reward = process_attestation(parameters, state, aggregate)
        state.validators.balance[proposer] += reward
        effects.attestations += reward
    for deposit in operations.deposits:
        apply_deposit(parameters, state, _pending(deposit, 0))
        state.eth1_deposit_index += 1
    for leaving in operations.voluntary_exits:
        initiate_validator_exit(parameters, state, leaving.validator_index)
    for change in operations.credential_changes:
        credentials = bytes([EXECUTION_PREFIX]) + bytes(11) + change.address
        set_credentials(state, change.validator_index, credentials)
    _process_requests(parameters, state, operations, effects)
    _process_sync_aggregate(parameters, state, proposer, sync_bits, effects)
    return effects


def process_attestation(parameters: Parameters, state: State, aggregate: Aggregate) -> int:
    """Set the flags that an aggregate earns; returns what the proposer earns for it, gwei."""
    data = aggregate.data
    epoch = parameters.epoch_of(state.slot)
    validators = state.validators
    is_current = data.target.epoch == epoch
    flags = validators.current_participation if is_current else validators.previous_participation
    earned = participation_flags(parameters, state, data)
    voters = aggregate.voters
    newly_set = np.uint8(earned) & ~flags[voters]
    flags[voters] |= np.uint8(earned)
    return rewards.attestation_proposer_reward(
        parameters,
        state.total_active_balance,
        validators.effective_balance[voters],
        newly_set,
    )


def participation_flags(parameters: Parameters, state: State, data: AttestationData) -> int:
    """``get_attestation_participation_flag_indices`` (Deneb) as bits."""
    delay = state.slot - data.slot
    target_matches = data.target.root == state.roots[parameters.first_slot(data.target.epoch)]
    head_matches = target_matches and data.beacon_block_root == state.roots[data.slot]
    flags = 0
    if delay <= isqrt(parameters.slots_per_epoch):
        flags |= 1 << rewards.TIMELY_SOURCE
    if target_matches:
        flags |= 1 << rewards.TIMELY_TARGET
    if head_matches and delay == parameters.min_attestation_inclusion_delay:
        flags |= 1 << rewards.TIMELY_HEAD
    return flags


def is_slashable(parameters: Parameters, state: State, index: int) -> bool:
    """``is_slashable_validator``."""
    validators = state.validators
    epoch = parameters.epoch_of(state.slot)
    return bool(
        index < len(validators)
        and not validators.slashed[index]
        and validators.activation_epoch[index] <= epoch < validators.withdrawable_epoch[index]
    )


def can_exit(parameters: Parameters, state: State, operation: VoluntaryExitOperation) -> bool:
    """Whether a block at ``state.slot`` may hold a voluntary exit."""
    index, epoch = operation.validator_index, parameters.epoch_of(state.slot)
    validators = state.validators
    if index >= len(validators) or validators.exit_epoch[index] != NEVER:
        return False
    grown_up = int(validators.activation_epoch[index]) <= epoch - parameters.shard_committee_period
    is_free = parameters.fork_at(epoch) < Fork.ELECTRA or not state.pending_balance_to_withdraw(
        index
    )
    return grown_up and is_free and operation.epoch <= epoch


def can_change_credentials(state: State, operation: CredentialChangeOperation) -> bool:
    """Whether a block may hold a change of credentials."""
    index = operation.validator_index
    credentials = state.validators.withdrawal_credentials
    return index < len(credentials) and credentials[index, 0] == BLS_PREFIX


def _slash(
    parameters: Parameters, state: State, effects: BlockEffects, index: int, proposer: int
) -> int:
    """``slash_validator``; returns the proposer's share and the whistleblower's, its own too."""
    epoch = parameters.epoch_of(state.slot)
    electra = parameters.fork_at(epoch) >= Fork.ELECTRA
    validators = state.validators
    initiate_validator_exit(parameters, state, index)
    vector = parameters.epochs_per_slashings_vector
    validators.slashed[index] = True
    validators.withdrawable_epoch[index] = max(
        int(validators.withdrawable_epoch[index]), epoch + vector
    )
    effective = int(validators.effective_balance[index])
    state.slashings[epoch % vector] += effective
    penalty = effective // (
        parameters.min_slashing_penalty_quotient_electra
        if electra
        else parameters.min_slashing_penalty_quotient_bellatrix
    )
    state.decrease_balance(index, penalty)
    effects.initial_penalties[index] = penalty
    reward = effective // (
        parameters.whistleblower_reward_quotient_electra
        if electra
        else parameters.whistleblower_reward_quotient
    )
    validators.balance[proposer] += reward
    return reward


def _process_requests(
    parameters: Parameters, state: State, operations: Operations, effects: BlockEffects
) -> None:
    for deposit in operations.deposit_requests:
        if state.deposit_requests_start_index is None:
            state.deposit_requests_start_index = deposit.index
        state.pending_deposits.append(_pending(deposit, state.slot))
    reasons: list[str | None] = [
        process_withdrawal_request(parameters, state, request)
        for request in operations.withdrawal_requests
    ]
    for consolidation in operations.consolidation_requests:
        index = state.index_of.get(consolidation.source_pubkey, -1)
        before = int(state.validators.balance[index])
        reasons.append(process_consolidation_request(parameters, state, consolidation))
        moved = before - int(state.validators.balance[index])
        if moved:
            effects.switched_excess[index] = moved
    effects.ignored = {
        position: reason for position, reason in enumerate(reasons) if reason is not None
    }


def _process_sync_aggregate(
    parameters: Parameters, state: State, proposer: int, bits: BoolArray, effects: BlockEffects
) -> None:
    reward = rewards.sync_participant_reward(parameters, state.total_active_balance)
    to_proposer = rewards.sync_proposer_reward(reward)
    balance, seats = state.validators.balance, state.current_sync_committee
    if int(balance[seats].min()) >= reward * len(seats):
        # No balance can reach 0 on the way, so the order of the seats does not matter.
        np.add.at(balance, seats, np.where(bits, reward, -reward))
        balance[proposer] += to_proposer * int(np.count_nonzero(bits))
    else:
        for seat, signed in zip(seats.tolist(), bits.tolist(), strict=True):
            if signed:
                balance[seat] += reward
                balance[proposer] += to_proposer
            else:
                state.decrease_balance(seat, reward)
    effects.participant_reward = reward
    effects.sync_aggregate = to_proposer * int(np.count_nonzero(bits))


def _pending(deposit: DepositOperation, slot: int) -> PendingDeposit:
    return PendingDeposit(
        deposit.pubkey,
        deposit.withdrawal_credentials,
        deposit.amount,
        deposit.signature,
        slot,
    )
