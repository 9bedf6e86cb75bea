"""The randomness of an epoch, and until when a state holds it.

Sources: consensus-specs, ``get_seed``, ``get_randao_mix`` and "Domain types" of
``specs/phase0/beacon-chain.md``, and of ``specs/altair/beacon-chain.md`` for sync committees.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.chain.registry import ByteMatrix, Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import ChainRuleViolationError

DOMAIN_BEACON_PROPOSER: Final = bytes.fromhex("00000000")
DOMAIN_BEACON_ATTESTER: Final = bytes.fromhex("01000000")
DOMAIN_SYNC_COMMITTEE: Final = bytes.fromhex("07000000")
"""Constants of the specification, equal on every network."""

_CONSEQUENCE: Final = "the seed of an epoch cannot be computed from a state"


def seed_of(spec: ChainSpec, randao_mixes: ByteMatrix, epoch: int, domain: bytes) -> bytes:
    """Return the seed (32 bytes) of ``epoch`` for one of the domains.

    ``randao_mixes`` is the ring of a state that holds the mix of ``epoch`` - MIN_SEED_LOOKAHEAD -
    1; ``seed_of_state`` checks that.

    Raises:
        ChainRuleViolationError: the node does not list MIN_SEED_LOOKAHEAD.
    """
    lookahead = spec.required("min_seed_lookahead", _CONSEQUENCE)
    mix = randao_mixes[(epoch - lookahead - 1) % len(randao_mixes)]
    return sha256(domain + epoch.to_bytes(8, "little") + mix.tobytes()).digest()


def seed_of_state(spec: ChainSpec, state: BeaconState, epoch: int, domain: bytes) -> bytes:
    """Return the seed (32 bytes) of ``epoch`` for one of the domains from the mixes of ``state``.

    The epochs are those whose mix does not change any more and has not been overwritten: up to
    MIN_SEED_LOOKAHEAD after that of the state, and EPOCHS_PER_HISTORICAL_VECTOR - 2 -
    MIN_SEED_LOOKAHEAD before it.

    Raises:
        ChainRuleViolationError: another epoch, or the node does not list MIN_SEED_LOOKAHEAD.
    """
    lookahead = spec.required("min_seed_lookahead", _CONSEQUENCE)
    current, kept = spec.epoch_of(state.slot), len(state.randao_mixes)
    first, last = max(0, current - kept + 2 + lookahead), current + lookahead
    if not first <= epoch <= last:
        raise ChainRuleViolationError(
            f"the state of slot {state.slot} (epoch {current}) holds the randomness of epochs "
            f"{first}…{last}, not that of epoch {epoch}; use a state of another epoch"
        )
    return seed_of(spec, state.randao_mixes, epoch, domain)


def active_validators(state: BeaconState, epoch: int) -> Int64Array:
    """The indices of those active in ``epoch``, ascending.

    Epochs of activation and exit are set in advance and never change again, so a state knows who is
    active in any epoch whose seed it holds.
    """
    rows = state.validators
    active: Int64Array = (
        (rows["activation_epoch"] <= epoch) & (rows["exit_epoch"] > epoch)
    ).nonzero()[0]
    return active
