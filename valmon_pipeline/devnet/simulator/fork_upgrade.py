"""The moves at the first slot of Electra.

Source: consensus-specs, ``electra/fork.md``, ``upgrade_to_electra``.
"""

from __future__ import annotations

import numpy as np

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.devnet.simulator.churn import (
    activation_exit_churn_limit,
    consolidation_churn_limit,
)
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.requests import (
    queue_deposit_of,
    queue_excess_active_balance,
)
from valmon_pipeline.devnet.simulator.state import COMPOUNDING_PREFIX, State


def upgrade_to_electra(parameters: Parameters, state: State) -> None:
    """Set up the queues; stake that is not active yet, and the excess of compounding validators,
    goes through the deposit queue. ``state.slot`` is the first slot of Electra."""
    validators = state.validators
    earliest = parameters.activation_exit_epoch(parameters.epoch_of(state.slot))
    leaving = validators.exit_epoch[validators.exit_epoch != NEVER]
    state.earliest_exit_epoch = max(earliest, int(leaving.max(initial=0))) + 1
    state.earliest_consolidation_epoch = earliest
    state.exit_balance_to_consume = activation_exit_churn_limit(parameters, state)
    state.consolidation_balance_to_consume = consolidation_churn_limit(parameters, state)
    waiting = np.flatnonzero(validators.activation_epoch == NEVER)
    order = np.argsort(validators.activation_eligibility_epoch[waiting], kind="stable")
    for index in waiting[order].tolist():
        amount = int(validators.balance[index])
        validators.balance[index] = 0
        validators.effective_balance[index] = 0
        validators.activation_eligibility_epoch[index] = NEVER
        queue_deposit_of(state, index, amount)
    for index in np.flatnonzero(validators.prefix() == COMPOUNDING_PREFIX).tolist():
        queue_excess_active_balance(parameters, state, index)
