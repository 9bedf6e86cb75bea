"""The withdrawals of a block: requested partial ones, then the sweep over the registry.

Source: consensus-specs, ``get_expected_withdrawals`` and ``process_withdrawals`` (Electra; before
it there are no requests and the maximum effective balance is the same for everybody).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.simulator.blocks import Withdrawal
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.state import (
    COMPOUNDING_PREFIX,
    EXECUTION_PREFIX,
    State,
)


def process_withdrawals(parameters: Parameters, state: State) -> tuple[Withdrawal, ...]:
    """Withdraw what the block at ``state.slot`` has to, and return it."""
    partial, handled = _requested(parameters, state)
    withdrawals = partial + _swept(parameters, state, partial)
    withdrawals = [
        replace(withdrawal, index=state.next_withdrawal_index + number)
        for number, withdrawal in enumerate(withdrawals)
    ]
    for withdrawal in withdrawals:
        state.decrease_balance(withdrawal.validator_index, withdrawal.amount)
    state.pending_partial_withdrawals = state.pending_partial_withdrawals[handled:]
    state.next_withdrawal_index += len(withdrawals)
    count = len(state.validators)
    if len(withdrawals) == parameters.max_withdrawals_per_payload:
        state.next_withdrawal_validator_index = (withdrawals[-1].validator_index + 1) % count
    else:
        ahead = parameters.max_validators_per_withdrawals_sweep
        state.next_withdrawal_validator_index = (
            state.next_withdrawal_validator_index + ahead
        ) % count
    return tuple(withdrawals)


def _requested(parameters: Parameters, state: State) -> tuple[list[Withdrawal], int]:
    """Return the requested partial withdrawals that are due, and how many entries are done."""
    epoch = parameters.epoch_of(state.slot)
    validators = state.validators
    due: list[Withdrawal] = []
    handled = 0
    for entry in state.pending_partial_withdrawals:
        if (
            entry.withdrawable_epoch > epoch
            or len(due) == parameters.max_pending_partials_per_withdrawals_sweep
        ):
            break
        index = entry.validator_index
        before = sum(other.amount for other in due if other.validator_index == index)
        excess = int(validators.balance[index]) - before - parameters.min_activation_balance
        if (
            validators.exit_epoch[index] == NEVER
            and validators.effective_balance[index] >= parameters.min_activation_balance
            and excess > 0
        ):
            due.append(_withdrawal(state, index, min(excess, entry.amount)))
        handled += 1
    return due, handled


def _swept(parameters: Parameters, state: State, partial: list[Withdrawal]) -> list[Withdrawal]:
    epoch = parameters.epoch_of(state.slot)
    validators = state.validators
    count = len(validators)
    bound = min(count, parameters.max_validators_per_withdrawals_sweep)
    swept = (state.next_withdrawal_validator_index + np.arange(bound)) % count
    balance = validators.balance[swept]
    for withdrawal in partial:
        balance[swept == withdrawal.validator_index] -= withdrawal.amount
    limit = state.max_effective_balance(parameters)[swept]
    prefix = validators.withdrawal_credentials[swept, 0]
    # Compounding credentials mean nothing before Electra.
    can_withdraw = prefix == EXECUTION_PREFIX
    if parameters.fork_at(epoch) >= Fork.ELECTRA:
        can_withdraw |= prefix == COMPOUNDING_PREFIX
    full = can_withdraw & (validators.withdrawable_epoch[swept] <= epoch) & (balance > 0)
    excess = can_withdraw & (validators.effective_balance[swept] == limit) & (balance > limit)
    amount = np.where(full, balance, np.where(excess, balance - limit, 0))
    chosen = np.flatnonzero(amount)[: parameters.max_withdrawals_per_payload - len(partial)]
    return [
        _withdrawal(state, index, gwei)
        for index, gwei in zip(swept[chosen].tolist(), amount[chosen].tolist(), strict=True)
    ]


def _withdrawal(state: State, index: int, amount: int) -> Withdrawal:
    address = "0x" + state.validators.withdrawal_credentials[index, 12:].tobytes().hex()
    return Withdrawal(0, index, address, amount)
