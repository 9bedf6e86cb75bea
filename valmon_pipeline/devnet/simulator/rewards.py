"""Rewards and penalties, straight from the specification; integer gwei, divisions in its order.

Source: consensus-specs, ``altair/beacon-chain.md`` (``get_flag_index_deltas``,
``process_sync_aggregate``, ``process_attestation``) and ``bellatrix/beacon-chain.md``
(``get_inactivity_penalty_deltas``).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Final

import numpy as np
import numpy.typing as npt

from valmon_pipeline.chain.weights import (
    PROPOSER_WEIGHT,
    SYNC_REWARD_WEIGHT,
    TIMELY_HEAD_WEIGHT,
    TIMELY_SOURCE_WEIGHT,
    TIMELY_TARGET_WEIGHT,
    WEIGHT_DENOMINATOR,
)
from valmon_pipeline.devnet.simulator.parameters import Parameters

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Flags = npt.NDArray[np.uint8]

TIMELY_SOURCE: Final = 0
TIMELY_TARGET: Final = 1
TIMELY_HEAD: Final = 2
FLAG_WEIGHTS: Final = (TIMELY_SOURCE_WEIGHT, TIMELY_TARGET_WEIGHT, TIMELY_HEAD_WEIGHT)
"""The weight of each participation flag, by its bit."""

PROPOSER_REWARD_DENOMINATOR: Final = (
    (WEIGHT_DENOMINATOR - PROPOSER_WEIGHT) * WEIGHT_DENOMINATOR // PROPOSER_WEIGHT
)


@dataclass(frozen=True, slots=True)
class Participation:
    """What the network did in an epoch, as its attestations are rewarded one epoch later.

    ``total_active_balance`` is that of the epoch in which they are rewarded (gwei);
    ``unslashed_participating_increments`` by flag bit, in effective balance increments.
    """

    total_active_balance: int
    unslashed_participating_increments: tuple[int, int, int]
    leak: bool


@dataclass(frozen=True, slots=True)
class AttestationDeltas:
    """Rewards (positive) and penalties (negative) of everybody (n), gwei, not yet floored at 0."""

    eligible: BoolArray
    source: Int64Array
    target: Int64Array
    head: Int64Array
    inactivity: Int64Array


def base_reward_per_increment(parameters: Parameters, total_active_balance: int) -> int:
    """``get_base_reward_per_increment``, gwei."""
    factor = parameters.effective_balance_increment * parameters.base_reward_factor
    return factor // isqrt(total_active_balance)


def has_flag(flags: Flags, flag: int) -> BoolArray:
    """Whether everybody has a participation flag."""
    return (flags >> np.uint8(flag) & np.uint8(1)).astype(np.bool_)


def participation(
    parameters: Parameters,
    effective_balance: Int64Array,
    flags: Flags,
    counted: BoolArray,
    total_active_balance: int,
    *,
    leak: bool,
) -> Participation:
    """Sum up the network; ``counted`` are those active in the epoch and not slashed."""
    increment = parameters.effective_balance_increment
    sums = [
        int(effective_balance[counted & has_flag(flags, flag)].sum())
        for flag in range(len(FLAG_WEIGHTS))
    ]
    source, target, head = (max(increment, total) // increment for total in sums)
    return Participation(total_active_balance, (source, target, head), leak)


def flag_reward(
    parameters: Parameters, network: Participation, effective_balance: Int64Array, flag: int
) -> Int64Array:
    """What a validator with the flag gets, by effective balance (any shape); 0 in a leak."""
    if network.leak:
        return np.zeros_like(effective_balance)
    increment = parameters.effective_balance_increment
    per_increment = base_reward_per_increment(parameters, network.total_active_balance)
    base = effective_balance // increment * per_increment
    numerator = base * FLAG_WEIGHTS[flag] * network.unslashed_participating_increments[flag]
    active_increments = network.total_active_balance // increment
    return np.asarray(numerator // (active_increments * WEIGHT_DENOMINATOR), np.int64)


def flag_penalty(
    parameters: Parameters, network: Participation, effective_balance: Int64Array, flag: int
) -> Int64Array:
    """What a validator without the flag pays, by effective balance; nothing for the head."""
    if flag == TIMELY_HEAD:
        return np.zeros_like(effective_balance)
    increment = parameters.effective_balance_increment
    per_increment = base_reward_per_increment(parameters, network.total_active_balance)
    base = effective_balance // increment * per_increment
    return np.asarray(base * FLAG_WEIGHTS[flag] // WEIGHT_DENOMINATOR, np.int64)


def attestation_deltas(
    parameters: Parameters,
    network: Participation,
    effective_balance: Int64Array,
    flags: Flags,
    slashed: BoolArray,
    eligible: BoolArray,
    inactivity_score: Int64Array,
) -> AttestationDeltas:
    """``get_flag_index_deltas`` of all flags and ``get_inactivity_penalty_deltas``.

    ``inactivity_score`` is already updated by the transition that applies the result.
    """
    deltas: dict[str, Int64Array] = {}
    for name, flag in (("source", TIMELY_SOURCE), ("target", TIMELY_TARGET), ("head", TIMELY_HEAD)):
        earned = has_flag(flags, flag) & ~slashed
        delta = np.where(
            earned,
            flag_reward(parameters, network, effective_balance, flag),
            -flag_penalty(parameters, network, effective_balance, flag),
        )
        deltas[name] = np.where(eligible, delta, 0)
    penalised = eligible & ~(has_flag(flags, TIMELY_TARGET) & ~slashed)
    quotient = parameters.inactivity_score_bias * parameters.inactivity_penalty_quotient_bellatrix
    inactivity = np.where(penalised, -(effective_balance * inactivity_score // quotient), 0)
    return AttestationDeltas(eligible, **deltas, inactivity=inactivity)


def sync_participant_reward(parameters: Parameters, total_active_balance: int) -> int:
    """What a seat of the sync committee earns, or loses, per block, gwei."""
    increments = total_active_balance // parameters.effective_balance_increment
    total = base_reward_per_increment(parameters, total_active_balance) * increments
    per_slot = total * SYNC_REWARD_WEIGHT // WEIGHT_DENOMINATOR // parameters.slots_per_epoch
    return per_slot // parameters.sync_committee_size


def sync_proposer_reward(participant_reward: int) -> int:
    """What the proposer earns per seat that signed, gwei."""
    return participant_reward * PROPOSER_WEIGHT // (WEIGHT_DENOMINATOR - PROPOSER_WEIGHT)


def attestation_proposer_reward(
    parameters: Parameters,
    total_active_balance: int,
    effective_balance: Int64Array,
    newly_set: Flags,
) -> int:
    """What the proposer earns for one attestation, gwei.

    ``effective_balance`` and ``newly_set`` (flag bits that were not set before) are of its voters.
    """
    increment = parameters.effective_balance_increment
    base = (effective_balance // increment) * base_reward_per_increment(
        parameters, total_active_balance
    )
    numerator = sum(
        int(base[has_flag(newly_set, flag)].sum()) * weight
        for flag, weight in enumerate(FLAG_WEIGHTS)
    )
    return numerator // PROPOSER_REWARD_DENOMINATOR


def correlation_penalty(
    parameters: Parameters,
    effective_balance: Int64Array,
    slashed_balance: int,
    total_active_balance: int,
    *,
    electra: bool,
) -> Int64Array:
    """``process_slashings``: the penalty halfway to withdrawability, by effective balance, gwei.

    ``slashed_balance`` is the sum of the slashings vector.
    """
    increment = parameters.effective_balance_increment
    multiplier = parameters.proportional_slashing_multiplier_bellatrix
    adjusted = min(slashed_balance * multiplier, total_active_balance)
    if electra:
        per_increment = adjusted // (total_active_balance // increment)
        return np.asarray(effective_balance // increment * per_increment, np.int64)
    # Whole increments; Python integers, because the product can pass 64 bits.
    return np.array(
        [
            int(balance) // increment * adjusted // total_active_balance * increment
            for balance in effective_balance
        ],
        dtype=np.int64,
    )
