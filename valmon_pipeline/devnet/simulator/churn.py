"""How fast validators may leave and stake may move.

Source: consensus-specs, ``electra/beacon-chain.md`` ("Beacon state accessors and mutators") and,
before Electra, ``phase0`` and ``deneb``.
"""

from __future__ import annotations

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.state import State


def balance_churn_limit(parameters: Parameters, state: State) -> int:
    """``get_balance_churn_limit``, gwei per epoch."""
    churn = max(
        parameters.min_per_epoch_churn_limit_electra,
        state.total_active_balance // parameters.churn_limit_quotient,
    )
    return churn - churn % parameters.effective_balance_increment


def activation_exit_churn_limit(parameters: Parameters, state: State) -> int:
    """``get_activation_exit_churn_limit``, gwei per epoch."""
    return min(
        parameters.max_per_epoch_activation_exit_churn_limit,
        balance_churn_limit(parameters, state),
    )


def consolidation_churn_limit(parameters: Parameters, state: State) -> int:
    """``get_consolidation_churn_limit``, gwei per epoch; 0 on small networks."""
    return balance_churn_limit(parameters, state) - activation_exit_churn_limit(parameters, state)


def validator_churn_limit(parameters: Parameters, state: State) -> int:
    """``get_validator_churn_limit``: validators per epoch, before Electra."""
    active = int(state.validators.is_active(parameters.epoch_of(state.slot)).sum())
    return max(parameters.min_per_epoch_churn_limit, active // parameters.churn_limit_quotient)


def consume_exit_churn(parameters: Parameters, state: State, amount: int) -> int:
    """``compute_exit_epoch_and_update_churn``: the epoch in which ``amount`` gwei may leave."""
    epoch, left = _consume(
        parameters,
        state,
        amount,
        state.earliest_exit_epoch,
        state.exit_balance_to_consume,
        activation_exit_churn_limit(parameters, state),
    )
    state.earliest_exit_epoch, state.exit_balance_to_consume = epoch, left
    return epoch


def consume_consolidation_churn(parameters: Parameters, state: State, amount: int) -> int:
    """``compute_consolidation_epoch_and_update_churn``."""
    epoch, left = _consume(
        parameters,
        state,
        amount,
        state.earliest_consolidation_epoch,
        state.consolidation_balance_to_consume,
        consolidation_churn_limit(parameters, state),
    )
    state.earliest_consolidation_epoch = epoch
    state.consolidation_balance_to_consume = left
    return epoch


def initiate_validator_exit(parameters: Parameters, state: State, index: int) -> None:
    """``initiate_validator_exit``: nothing happens to one that is leaving already."""
    validators = state.validators
    if validators.exit_epoch[index] != NEVER:
        return
    if parameters.epoch_of(state.slot) >= parameters.electra_fork_epoch:
        epoch = consume_exit_churn(parameters, state, int(validators.effective_balance[index]))
    else:
        epoch = _exit_queue_epoch(parameters, state)
    validators.exit_epoch[index] = epoch
    validators.withdrawable_epoch[index] = epoch + parameters.min_validator_withdrawability_delay


def _exit_queue_epoch(parameters: Parameters, state: State) -> int:
    leaving = state.validators.exit_epoch
    leaving = leaving[leaving != NEVER]
    earliest = parameters.activation_exit_epoch(parameters.epoch_of(state.slot))
    epoch = max(earliest, int(leaving.max(initial=0)))
    if int((leaving == epoch).sum()) >= validator_churn_limit(parameters, state):
        epoch += 1
    return epoch


def _consume(
    parameters: Parameters, state: State, amount: int, known: int, left: int, per_epoch: int
) -> tuple[int, int]:
    """Return the epoch that has room for ``amount``, and what is left of its churn."""
    earliest = max(known, parameters.activation_exit_epoch(parameters.epoch_of(state.slot)))
    to_consume = per_epoch if known < earliest else left
    if amount > to_consume:
        additional = (amount - to_consume - 1) // per_epoch + 1
        earliest += additional
        to_consume += additional * per_epoch
    return earliest, to_consume - amount
