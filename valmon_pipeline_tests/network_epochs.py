"""Epochs of a whole network for tests: any values at all, or those of a plausible small network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from valmon_pipeline.chain.network_epoch import NetworkEpoch

GWEI_COLUMNS = (
    *("balance", "effective_balance", "inactivity_score", "source_reward", "target_reward"),
    *("head_reward", "inactivity_penalty", "ideal_reward"),
)
SIGNED = frozenset({"source_reward", "target_reward", "head_reward"})
LARGEST_BALANCE = (2**31 - 1) * 10**9 + 999_999_999


def any_network(epoch: int, n: int, seed: int = 0) -> NetworkEpoch:
    """``n`` validators with values from the whole range of every column."""
    random = np.random.default_rng([seed, epoch, n])
    columns: dict[str, npt.NDArray[Any]] = {
        name: random.choice(
            np.array([0, 1, 2**31, 2**31 - 1, 2**62, *([-(2**62)] if name in SIGNED else [])]), n
        )
        for name in GWEI_COLUMNS
    }
    columns["balance"] = random.choice(
        np.array([0, 1, 2**31, 32 * 10**9, 10**9 - 1, LARGEST_BALANCE]), n
    )
    on_duty = random.random(n) < 0.7
    slots, committees = 8, 3

    def duty(largest: int, dtype: str) -> npt.NDArray[Any]:
        return np.where(on_duty, random.integers(0, largest, n), -1).astype(dtype)

    def share() -> npt.NDArray[np.float32]:
        values = random.random(n).astype(np.float32)
        values[random.random(n) < 0.3] = np.nan
        return values

    return NetworkEpoch(
        epoch=epoch,
        state_slot=(epoch + 2) * slots - 1,
        status=random.integers(0, 9, n).astype(np.uint8),
        active=on_duty,
        eligible=random.random(n) < 0.5,
        slashed=random.random(n) < 0.5,
        flags=random.integers(0, 8, n).astype(np.uint8),
        duty_slot_in_epoch=duty(slots, "int16"),
        committee_index=duty(committees, "int16"),
        committee_position=duty(2**15, "int32"),
        reward_effectiveness=share(),
        percentile_rank=share(),
        **columns,
    )


def plain_network(epoch: int, n: int) -> NetworkEpoch:
    """``n`` validators that came to few different outcomes, other balances in every epoch."""
    index = np.arange(n)
    active = index % 5 != 4
    missed = (index + epoch) % 7 == 0
    earned = np.where(active & ~missed, 3000 + index % 3, 0)
    ideal = np.where(active, 3000 + index % 3, 0)
    with np.errstate(invalid="ignore"):
        effectiveness = (earned / ideal).astype(np.float32)
    nothing = np.zeros(n, dtype=np.int64)
    place = (index * 7 + epoch) % n
    return NetworkEpoch(
        epoch=epoch,
        state_slot=(epoch + 2) * 8 - 1,
        status=np.where(active, 2, 8).astype(np.uint8),
        active=active,
        eligible=active,
        slashed=np.zeros(n, dtype=np.bool_),
        flags=np.where(active & ~missed, 7, 0).astype(np.uint8),
        balance=np.where(active, 32 * 10**9 + index * 1000 + epoch, 0),
        effective_balance=np.where(active, 32 * 10**9, 0),
        inactivity_score=nothing,
        source_reward=earned,
        target_reward=nothing,
        head_reward=nothing,
        inactivity_penalty=nothing,
        ideal_reward=ideal,
        duty_slot_in_epoch=np.where(active, place % 8, -1).astype(np.int16),
        committee_index=np.where(active, place // 8 % 2, -1).astype(np.int16),
        committee_position=np.where(active, place // 16, -1).astype(np.int32),
        reward_effectiveness=effectiveness,
        percentile_rank=np.where(active, effectiveness / 2, np.nan).astype(np.float32),
    )


def networks(largest: int = 40) -> st.SearchStrategy[NetworkEpoch]:
    """Networks of 1 to ``largest`` validators with any values."""
    return st.builds(
        any_network,
        st.integers(0, 2**20),
        st.integers(1, largest),
        st.integers(0, 2**32),
    )


def assert_same_network(left: NetworkEpoch | None, right: NetworkEpoch) -> None:
    """Both are equal, types included."""
    assert left is not None
    assert (left.epoch, left.state_slot) == (right.epoch, right.state_slot)
    for name in NetworkEpoch.__dataclass_fields__:
        one, other = getattr(left, name), getattr(right, name)
        if isinstance(other, np.ndarray):
            assert one.dtype == other.dtype, name
            np.testing.assert_array_equal(one, other, err_msg=name)
