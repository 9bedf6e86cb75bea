"""Small validator registries made for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.registry import ValidatorRegistry

ETH = 10**9


def registry(
    *,
    index: Sequence[int],
    effective_balance: Sequence[int] | None = None,
    slashed: Sequence[bool] | None = None,
    eligibility: Sequence[int] | None = None,
    activation: Sequence[int] | None = None,
    exit_epoch: Sequence[int] | None = None,
    withdrawable: Sequence[int] | None = None,
) -> ValidatorRegistry:
    """Validators that are active since genesis with 32 ETH unless said otherwise."""
    n = len(index)

    def column(values: Sequence[int] | None, default: int) -> np.typing.NDArray[np.int64]:
        return np.array([default] * n if values is None else values, dtype=np.int64)

    return ValidatorRegistry(
        validator_index=column(index, 0),
        balance=column(effective_balance, 32 * ETH),
        effective_balance=column(effective_balance, 32 * ETH),
        slashed=np.array([False] * n if slashed is None else slashed, dtype=np.bool_),
        activation_eligibility_epoch=column(eligibility, 0),
        activation_epoch=column(activation, 0),
        exit_epoch=column(exit_epoch, NEVER),
        withdrawable_epoch=column(withdrawable, NEVER),
        pubkey=np.zeros((n, 48), dtype=np.uint8),
        withdrawal_credentials=np.zeros((n, 32), dtype=np.uint8),
    )
