"""Deposits reaching the registry: a known validator's balance, or a new validator.

Source: consensus-specs, ``apply_pending_deposit`` (Electra) and ``apply_deposit`` (Deneb).
Signatures are not simulated: every deposit for a new key is valid.
"""

from __future__ import annotations

from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.state import COMPOUNDING_PREFIX, PendingDeposit, State


def apply_deposit(parameters: Parameters, state: State, deposit: PendingDeposit) -> None:
    """Credit a deposit; a key that is not in the registry becomes its last validator."""
    index = state.index_of.get(deposit.pubkey)
    if index is not None:
        state.validators.balance[index] += deposit.amount
        return
    limit = parameters.max_effective_balance
    if parameters.fork_at(parameters.epoch_of(state.slot)) >= Fork.ELECTRA:
        limit = (
            parameters.max_effective_balance_electra
            if deposit.withdrawal_credentials[0] == COMPOUNDING_PREFIX
            else parameters.min_activation_balance
        )
    whole = deposit.amount - deposit.amount % parameters.effective_balance_increment
    state.index_of[deposit.pubkey] = len(state.validators)
    state.validators.append(
        deposit.pubkey, deposit.withdrawal_credentials, deposit.amount, min(whole, limit)
    )
