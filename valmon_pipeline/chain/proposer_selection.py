"""The proposer of every slot of an epoch, by the specification.

Sources: consensus-specs, ``get_beacon_proposer_index`` of ``specs/phase0/beacon-chain.md``,
``compute_proposer_index`` of phase0 and of ``specs/electra/beacon-chain.md``;
``specs/fulu/beacon-chain.md`` (EIP-7917), which keeps the proposers of the coming epochs in the
state.
"""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from valmon_pipeline.chain.balance_weighted_selection import balance_weighted_selection
from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.seeds import DOMAIN_BEACON_PROPOSER, active_validators, seed_of_state
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import ChainRuleViolationError


def proposers_by_seed(
    spec: ChainSpec, epoch: int, active: Int64Array, effective_balance: Int64Array, seed: bytes
) -> Int64Array:
    """Return the proposer of each slot of ``epoch``, from its first.

    ``active`` (n) are the indices of all validators active in ``epoch``, ascending; ``seed`` is the
    epoch's for DOMAIN_BEACON_PROPOSER. ``effective_balance`` (n, gwei) are those that decide: of
    ``epoch`` itself before Fulu, of the epoch MIN_SEED_LOOKAHEAD earlier since.

    Raises:
        ChainRuleViolationError: nobody is active or has a balance, or the node does not list
            SHUFFLE_ROUND_COUNT.
    """
    fork = spec.fork_at_epoch(epoch)
    return np.concatenate(
        [
            balance_weighted_selection(
                spec,
                fork,
                active,
                effective_balance,
                sha256(seed + slot.to_bytes(8, "little")).digest(),
                1,
            )
            for slot in range(spec.first_slot(epoch), spec.last_slot(epoch) + 1)
        ]
    )


def proposers_of_state(spec: ChainSpec, state: BeaconState, epoch: int) -> Int64Array:
    """Return the proposer of each slot of ``epoch``, from its first.

    Before Fulu a state of any slot of ``epoch`` itself determines them, and no other: effective
    balances change at each boundary. A state since Fulu lists those of its own epoch and of the
    MIN_SEED_LOOKAHEAD epochs that follow.

    Raises:
        ChainRuleViolationError: the state is not one of those, or the node does not list a constant
            that is needed.
    """
    current = spec.epoch_of(state.slot)
    if state.proposer_lookahead is not None:
        known = len(state.proposer_lookahead) // spec.slots_per_epoch
        if not current <= epoch < current + known:
            raise ChainRuleViolationError(
                f"the state of slot {state.slot} lists the proposers of epochs {current}…"
                f"{current + known - 1}, not those of epoch {epoch}; use a state of that epoch"
            )
        start = (epoch - current) * spec.slots_per_epoch
        listed = state.proposer_lookahead[start : start + spec.slots_per_epoch].astype(np.int64)
        _require_validators(state, listed)
        return listed
    if epoch != current:
        raise ChainRuleViolationError(
            f"before Fulu the proposers of epoch {epoch} follow from a state of that epoch alone, "
            f"since effective balances change at each boundary; the state is of slot {state.slot}, "
            f"epoch {current}"
        )
    active = active_validators(state, epoch)
    return proposers_by_seed(
        spec,
        epoch,
        active,
        state.validators["effective_balance"][active].astype(np.int64),
        seed_of_state(spec, state, epoch, DOMAIN_BEACON_PROPOSER),
    )


def _require_validators(state: BeaconState, listed: Int64Array) -> None:
    wrong = (listed < 0) | (listed >= len(state))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ChainRuleViolationError(
            f"proposer_lookahead of the state of slot {state.slot} names validator "
            f"{int(listed[row])}, but there are {len(state)}. Ask another node."
        )
