"""A made-up epoch of a network of mainnet's shape, for benchmarks of whole-network rows."""

from __future__ import annotations

from math import isqrt
from typing import Final

import numpy as np

from valmon_pipeline.chain.network_epoch import (
    HEAD_TIMELY,
    SOURCE_TIMELY,
    TARGET_TIMELY,
    NetworkEpoch,
)
from valmon_pipeline.chain.status import ValidatorStatus

ETHER: Final = 10**9
SLOTS: Final = 32
COMMITTEES: Final = 64


def network_epoch(epoch: int, active: int, *, exited_share: float = 1.2) -> NetworkEpoch:
    """An epoch with ``active`` validators on duty and ``exited_share`` times as many that are gone.

    Who is active, and effective balances, are the same in every epoch: one in twenty has been
    consolidated to up to 2048 ETH. In each epoch 0.5 % do not attest, 0.2 % miss the target and
    2 % the head. Rewards follow from flags and effective balance. Balances grow by them from a
    random start, and are random again where the sweep took the excess. Duties are shuffled anew.
    The old half of those gone lies at the lowest indices, as exits of old validators do.
    """
    n = active + int(active * exited_share)
    fixed = np.random.default_rng(7)
    gone = np.zeros(n, dtype=np.bool_)
    half = (n - active) // 2
    gone[:half] = True
    gone[half + fixed.choice(n - half, n - active - half, replace=False)] = True
    is_active = ~gone
    effective = (
        np.where(fixed.random(n) < 0.05, fixed.integers(33, 2049, n), 32) * ETHER * is_active
    )
    start = fixed.integers(0, 20_000_000, n)

    random = np.random.default_rng(epoch)
    draw = random.random(n)
    flags = np.full(n, SOURCE_TIMELY | TARGET_TIMELY | HEAD_TIMELY, dtype=np.uint8)
    flags[draw < 0.027] = SOURCE_TIMELY | TARGET_TIMELY
    flags[draw < 0.007] = SOURCE_TIMELY
    flags[draw < 0.005] = 0
    flags[gone] = 0
    per_increment = ETHER * 64 // isqrt(int(effective.sum()))
    base = effective // ETHER * per_increment

    def reward(flag: int, weight: int, *, fined: bool) -> np.ndarray:
        earned = base * weight * 97 // (64 * 100)
        return np.where(flags & flag, earned, -(base * weight // 64) if fined else 0) * is_active

    source = reward(SOURCE_TIMELY, 14, fined=True)
    target = reward(TARGET_TIMELY, 26, fined=True)
    head = reward(HEAD_TIMELY, 14, fined=False)
    ideal = sum((base * weight * 97 // 6400 for weight in (14, 26, 14)), np.zeros(n, np.int64))
    grown = start + (epoch % 1000) * (base * 54 // 64)
    with np.errstate(divide="ignore", invalid="ignore"):
        effectiveness = ((source + target + head) / ideal).astype(np.float32)
    ranks = np.full(n, np.nan, dtype=np.float32)
    _, codes, counts = np.unique(effectiveness[is_active], return_inverse=True, return_counts=True)
    ranks[is_active] = ((np.cumsum(counts) - counts / 2) / active).astype(np.float32)[codes]
    slot, index, position = (np.full(n, -1, dtype=np.int32) for _ in range(3))
    place = random.permutation(active)
    per_committee = -(-active // (SLOTS * COMMITTEES))
    committee, position[is_active] = np.divmod(place, per_committee)
    slot[is_active], index[is_active] = np.divmod(committee, COMMITTEES)
    return NetworkEpoch(
        epoch=epoch,
        state_slot=(epoch + 2) * SLOTS - 1,
        status=np.where(
            is_active,
            ValidatorStatus.ACTIVE_ONGOING.code,
            ValidatorStatus.WITHDRAWAL_DONE.code,
        ).astype(np.uint8),
        active=is_active,
        eligible=is_active,
        slashed=np.zeros(n, dtype=np.bool_),
        flags=flags,
        balance=(effective + grown % 40_000_000) * is_active,
        effective_balance=effective,
        inactivity_score=np.where(draw < 0.0005, 4, 0) * is_active,
        source_reward=source,
        target_reward=target,
        head_reward=head,
        inactivity_penalty=np.zeros(n, dtype=np.int64),
        ideal_reward=ideal,
        duty_slot_in_epoch=slot.astype(np.int16),
        committee_index=index.astype(np.int16),
        committee_position=position,
        reward_effectiveness=effectiveness,
        percentile_rank=ranks,
    )
