"""Columns of the validator registry, as far as valmon uses it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ByteMatrix = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ValidatorRegistry:
    """Validators of one beacon state, n rows, ascending and unique by ``validator_index``.

    Epochs are int64 with ``chain.epochs.NEVER`` for FAR_FUTURE_EPOCH; balances are gwei.
    ``pubkey`` is (n, 48) and ``withdrawal_credentials`` (n, 32) bytes. The registry may hold the
    whole network or only the validators that were asked for.
    """

    validator_index: Int64Array
    balance: Int64Array
    effective_balance: Int64Array
    slashed: BoolArray
    activation_eligibility_epoch: Int64Array
    activation_epoch: Int64Array
    exit_epoch: Int64Array
    withdrawable_epoch: Int64Array
    pubkey: ByteMatrix
    withdrawal_credentials: ByteMatrix

    def __len__(self) -> int:
        return len(self.validator_index)
