"""The beacon committees of an epoch by the specification, without asking a node for them.

Sources: consensus-specs, ``get_committee_count_per_slot``, ``compute_committee`` and
``get_beacon_committee`` of ``specs/phase0/beacon-chain.md``.
"""

from __future__ import annotations

import numpy as np

from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.seeds import DOMAIN_BEACON_ATTESTER, active_validators, seed_of_state
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.swap_or_not import shuffled
from valmon_pipeline.errors import ChainRuleViolationError


def committee_count_per_slot(spec: ChainSpec, active_count: int) -> int:
    """The number of committees of each slot of an epoch with ``active_count`` active validators."""
    wanted = active_count // spec.slots_per_epoch // spec.target_committee_size
    return max(1, min(spec.max_committees_per_slot, wanted))


def committee_lengths(spec: ChainSpec, active_count: int) -> Int64Array:
    """The members of each committee of such an epoch (slots × committees), slot after slot.

    They need no seed: bits of aggregates can be located once the number of active validators is
    known.
    """
    return np.diff(_bounds(spec, active_count))


def committees_by_shuffling(
    spec: ChainSpec, epoch: int, active: Int64Array, seed: bytes
) -> Committees:
    """Return all committees of ``epoch``.

    ``active`` are the indices of all validators active in it, ascending; ``seed`` is the epoch's
    for DOMAIN_BEACON_ATTESTER.

    Raises:
        ChainRuleViolationError: nobody is active, a validator is named twice, or the node does not
            list SHUFFLE_ROUND_COUNT.
    """
    if not len(active):
        raise ChainRuleViolationError(
            f"no validator is active in epoch {epoch}: the registry is not that of a running chain"
        )
    per_slot = committee_count_per_slot(spec, len(active))
    slots = np.arange(spec.first_slot(epoch), spec.last_slot(epoch) + 1, dtype=np.int64)
    return Committees.from_rows(
        np.repeat(slots, per_slot),
        np.tile(np.arange(per_slot, dtype=np.int64), len(slots)),
        committee_lengths(spec, len(active)),
        shuffled(spec, active, seed),
    )


def committees_of_state(spec: ChainSpec, state: BeaconState, epoch: int) -> Committees:
    """Return all committees of ``epoch`` from any state that still or already determines them.

    Those are the states of ``epoch`` - MIN_SEED_LOOKAHEAD (of any slot) and of
    EPOCHS_PER_HISTORICAL_VECTOR - 2 epochs since then; see ``seed_of_state``.

    Raises:
        ChainRuleViolationError: the state is too old or too new, nobody is active, or the node does
            not list MIN_SEED_LOOKAHEAD or SHUFFLE_ROUND_COUNT.
    """
    seed = seed_of_state(spec, state, epoch, DOMAIN_BEACON_ATTESTER)
    return committees_by_shuffling(spec, epoch, active_validators(state, epoch), seed)


def _bounds(spec: ChainSpec, active_count: int) -> Int64Array:
    """Where committees start and end in the shuffled list (slots × committees + 1)."""
    count = committee_count_per_slot(spec, active_count) * spec.slots_per_epoch
    return active_count * np.arange(count + 1, dtype=np.int64) // count
