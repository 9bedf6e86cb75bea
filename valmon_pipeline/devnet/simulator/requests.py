"""Requests of the execution layer: always in the block, not always with an effect.

Source: consensus-specs, ``electra/beacon-chain.md``, ``process_withdrawal_request`` and
``process_consolidation_request``. The functions return why nothing happened, or None.
"""

from __future__ import annotations

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.devnet.simulator.blocks import ConsolidationRequest, WithdrawalRequest
from valmon_pipeline.devnet.simulator.churn import (
    consolidation_churn_limit,
    consume_consolidation_churn,
    consume_exit_churn,
    initiate_validator_exit,
)
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.state import (
    BLS_PREFIX,
    COMPOUNDING_PREFIX,
    EXECUTION_PREFIX,
    PendingConsolidation,
    PendingDeposit,
    PendingPartialWithdrawal,
    State,
)

INFINITY_SIGNATURE = "0xc0" + "00" * 95
"""The signature of pending deposits that nobody signed: the point at infinity."""


def process_withdrawal_request(
    parameters: Parameters, state: State, request: WithdrawalRequest
) -> str | None:
    """Start a full exit (amount 0) or queue a partial withdrawal."""
    full = request.amount == 0
    queue = state.pending_partial_withdrawals
    if not full and len(queue) == parameters.pending_partial_withdrawals_limit:
        return "the queue of partial withdrawals is full"
    index = state.index_of.get(request.pubkey)
    if index is None:
        return "no validator has this key"
    refusal = _refuse_source(state, index, request.source_address) or _refuse_leaving(
        parameters, state, index, grown_up=True
    )
    if refusal:
        return refusal
    pending = state.pending_balance_to_withdraw(index)
    if full:
        if pending:
            return "partial withdrawals are pending"
        initiate_validator_exit(parameters, state, index)
        return None
    validators = state.validators
    excess = int(validators.balance[index]) - parameters.min_activation_balance - pending
    if validators.withdrawal_credentials[index, 0] != COMPOUNDING_PREFIX:
        return "only compounding validators withdraw on request"
    if validators.effective_balance[index] < parameters.min_activation_balance or excess <= 0:
        return "the balance is not above the minimum"
    amount = min(excess, request.amount)
    epoch = consume_exit_churn(parameters, state, amount)
    withdrawable = epoch + parameters.min_validator_withdrawability_delay
    queue.append(PendingPartialWithdrawal(index, amount, withdrawable))
    return None


def process_consolidation_request(
    parameters: Parameters, state: State, request: ConsolidationRequest
) -> str | None:
    """Queue a consolidation, or switch a validator to compounding."""
    source = state.index_of.get(request.source_pubkey)
    target = state.index_of.get(request.target_pubkey)
    if source is None or target is None:
        return "no validator has this key"
    if source == target:
        return _switch_to_compounding(parameters, state, source, request.source_address)
    if len(state.pending_consolidations) == parameters.pending_consolidations_limit:
        return "the queue of consolidations is full"
    if consolidation_churn_limit(parameters, state) <= parameters.min_activation_balance:
        return "the network is too small to consolidate"
    validators = state.validators
    if validators.withdrawal_credentials[target, 0] != COMPOUNDING_PREFIX:
        return "the target is not compounding"
    refusal = (
        _refuse_source(state, source, request.source_address)
        or _refuse_leaving(parameters, state, target, grown_up=False)
        or _refuse_leaving(parameters, state, source, grown_up=True)
    )
    if refusal:
        return refusal
    if state.pending_balance_to_withdraw(source):
        return "partial withdrawals are pending"
    amount = int(validators.effective_balance[source])
    epoch = consume_consolidation_churn(parameters, state, amount)
    validators.exit_epoch[source] = epoch
    validators.withdrawable_epoch[source] = epoch + parameters.min_validator_withdrawability_delay
    state.pending_consolidations.append(PendingConsolidation(source, target))
    return None


def queue_excess_active_balance(parameters: Parameters, state: State, index: int) -> int:
    """``queue_excess_active_balance``; returns the gwei that went to the deposit queue."""
    validators = state.validators
    excess = int(validators.balance[index]) - parameters.min_activation_balance
    if excess <= 0:
        return 0
    validators.balance[index] = parameters.min_activation_balance
    queue_deposit_of(state, index, excess)
    return excess


def queue_deposit_of(state: State, index: int, amount: int) -> None:
    """Put gwei that left a validator's balance into the deposit queue."""
    validators = state.validators
    state.pending_deposits.append(
        PendingDeposit(
            validators.pubkey[index].tobytes(),
            validators.withdrawal_credentials[index].tobytes(),
            amount,
            INFINITY_SIGNATURE,
            0,
        )
    )


def set_credentials(state: State, index: int, credentials: bytes) -> None:
    """Replace a validator's withdrawal credentials, leaving what was remembered of them alone."""
    changed = state.validators.withdrawal_credentials.copy()
    changed[index] = list(credentials)
    state.validators.withdrawal_credentials = changed


def _switch_to_compounding(
    parameters: Parameters, state: State, index: int, address: bytes
) -> str | None:
    credentials = state.validators.withdrawal_credentials[index].tobytes()
    if credentials[0] != EXECUTION_PREFIX:
        return "only validators with an execution address switch to compounding"
    refusal = _refuse_source(state, index, address) or _refuse_leaving(
        parameters, state, index, grown_up=False
    )
    if refusal:
        return refusal
    set_credentials(state, index, bytes([COMPOUNDING_PREFIX]) + credentials[1:])
    queue_excess_active_balance(parameters, state, index)
    return None


def _refuse_source(state: State, index: int, address: bytes) -> str | None:
    credentials = state.validators.withdrawal_credentials[index]
    if credentials[0] == BLS_PREFIX:
        return "the validator has no execution address"
    if credentials[12:].tobytes() != address:
        return "the request is of another address"
    return None


def _refuse_leaving(
    parameters: Parameters, state: State, index: int, *, grown_up: bool
) -> str | None:
    """Return why the validator may not take part; ``grown_up``: it must have been active long."""
    epoch = parameters.epoch_of(state.slot)
    validators = state.validators
    activation = int(validators.activation_epoch[index])
    if not activation <= epoch < validators.exit_epoch[index]:
        return "the validator is not active"
    if validators.exit_epoch[index] != NEVER:
        return "the validator is leaving already"
    if grown_up and epoch < activation + parameters.shard_committee_period:
        return "the validator has not been active for long enough"
    return None
