"""Columns of the validator registry, as far as valmon uses it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from valmon_pipeline.errors import ChainRuleViolationError

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

    def rows_of(self, validator_index: Int64Array) -> Int64Array:
        """The row of each given validator (m), in any order.

        Raises:
            ChainRuleViolationError: a validator is not in the registry.
        """
        rows = np.searchsorted(self.validator_index, validator_index)
        found = rows < len(self)
        found[found] = self.validator_index[rows[found]] == validator_index[found]
        if not found.all():
            missing = validator_index[~found]
            raise ChainRuleViolationError(
                f"validator {int(missing[0])} is not in the registry of {len(self)} validators "
                f"({len(missing)} missing)"
            )
        return rows
