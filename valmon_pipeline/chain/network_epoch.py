"""What every validator of the network did and earned in an epoch: columns by validator index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from valmon_pipeline.chain.registry import BoolArray, Int64Array

UInt8Array = npt.NDArray[np.uint8]
Int16Array = npt.NDArray[np.int16]
Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]

SOURCE_TIMELY: Final = 1
TARGET_TIMELY: Final = 2
HEAD_TIMELY: Final = 4


@dataclass(frozen=True, slots=True)
class NetworkEpoch:
    """An epoch of the whole network; every array is (n,), position = validator index.

    Everything but the duties comes from one beacon state, that of the last slot of ``epoch + 1``
    (``state_slot``), in which the participation of ``epoch`` is complete and not yet rewarded.

    ``status`` is ``ValidatorStatus.code`` in ``epoch``; ``flags`` adds up ``SOURCE_TIMELY``,
    ``TARGET_TIMELY`` and ``HEAD_TIMELY``, also of slashed validators, whom they earn nothing.
    ``active``: had a duty; ``eligible``: gets rewards or penalties. ``balance`` and
    ``effective_balance`` are gwei in the state. Rewards are gwei, negative where fined;
    ``inactivity_penalty`` is a positive amount; all are 0 where not eligible.
    ``duty_slot_in_epoch``, ``committee_index`` and ``committee_position`` are -1 without a duty,
    and everywhere if the committees were not read. ``reward_effectiveness`` and
    ``percentile_rank`` (0 … 1, among all) are NaN where nothing was due.
    """

    epoch: int
    state_slot: int
    status: UInt8Array
    active: BoolArray
    eligible: BoolArray
    slashed: BoolArray
    flags: UInt8Array
    balance: Int64Array
    effective_balance: Int64Array
    inactivity_score: Int64Array
    source_reward: Int64Array
    target_reward: Int64Array
    head_reward: Int64Array
    inactivity_penalty: Int64Array
    ideal_reward: Int64Array
    duty_slot_in_epoch: Int16Array
    committee_index: Int16Array
    committee_position: Int32Array
    reward_effectiveness: Float32Array
    percentile_rank: Float32Array

    def __len__(self) -> int:
        return len(self.status)

    @property
    def total_reward(self) -> Int64Array:
        """Rewards less penalties (n), gwei."""
        earned: Int64Array = self.source_reward + self.target_reward + self.head_reward
        return earned - self.inactivity_penalty
