"""The members of the sync committees: as a state lists them, and as they are drawn.

Sources: consensus-specs, ``process_sync_committee_updates`` and
``get_next_sync_committee_indices`` of ``specs/altair/beacon-chain.md`` and
``specs/electra/beacon-chain.md``.
"""

from __future__ import annotations

import numpy as np

from valmon_pipeline.chain.balance_weighted_selection import balance_weighted_selection
from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.chain.registry import ByteMatrix, Int64Array
from valmon_pipeline.chain.seeds import DOMAIN_SYNC_COMMITTEE, active_validators, seed_of_state
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.validator_lookup import rows_of_pubkeys
from valmon_pipeline.errors import ChainRuleViolationError


def sync_committee_of_state(spec: ChainSpec, state: BeaconState, epoch: int) -> Int64Array:
    """Return the validator index of each seat (SYNC_COMMITTEE_SIZE) in ``epoch``.

    ``epoch`` lies in the state's sync committee period or in the next.

    Raises:
        ChainRuleViolationError: another period, or a seat's key is nobody's.
    """
    current = spec.epoch_of(state.slot)
    period = epoch // spec.epochs_per_sync_committee_period
    ahead = period - current // spec.epochs_per_sync_committee_period
    if ahead not in (0, 1):
        raise ChainRuleViolationError(
            f"the state of slot {state.slot} (epoch {current}) lists the sync committees of its "
            f"own period of {spec.epochs_per_sync_committee_period} epochs and of the next, not "
            f"that of epoch {epoch}; use a state of that period"
        )
    seats = state.next_sync_committee if ahead else state.current_sync_committee
    return _seat_holders(state, seats)


def next_sync_committee_indices(spec: ChainSpec, state: BeaconState) -> Int64Array:
    """Draw the sync committee of the next period: the validator index of each seat.

    ``state`` is one of the first epoch of a period, in whose first slot the specification draws:
    later the randomness is the same, but effective balances and activity are not. The rules are
    those of the epoch before, whose transition it is.

    Raises:
        ChainRuleViolationError: the state is of another epoch, or the node does not list a constant
            that is needed.
    """
    epoch = spec.epoch_of(state.slot)
    if epoch == 0 or epoch % spec.epochs_per_sync_committee_period:
        raise ChainRuleViolationError(
            f"the next sync committee is drawn from a state of the first epoch of a period of "
            f"{spec.epochs_per_sync_committee_period} epochs, after the first; the state is of "
            f"slot {state.slot}, epoch {epoch}"
        )
    active = active_validators(state, epoch)
    return balance_weighted_selection(
        spec,
        spec.fork_at_epoch(epoch - 1),
        active,
        state.validators["effective_balance"][active].astype(np.int64),
        seed_of_state(spec, state, epoch, DOMAIN_SYNC_COMMITTEE),
        spec.sync_committee_size,
    )


def _seat_holders(state: BeaconState, seats: ByteMatrix) -> Int64Array:
    keys = [seat.tobytes() for seat in seats]
    rows = rows_of_pubkeys(state.validators["pubkey"], keys)
    unknown = [key for key in keys if key not in rows]
    if unknown:
        raise ChainRuleViolationError(
            f"a seat of a sync committee in the state of slot {state.slot} has the key "
            f"0x{unknown[0].hex()}, which is none of its {len(state)} validators'. Ask another "
            "node."
        )
    return np.array([rows[key] for key in keys], dtype=np.int64)
