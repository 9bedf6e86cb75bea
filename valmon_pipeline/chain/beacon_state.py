"""A beacon state as columns, as far as valmon uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from valmon_pipeline.chain.finality import FinalityCheckpoints
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.registry import ByteMatrix

UInt64Array = npt.NDArray[np.uint64]
UInt8Array = npt.NDArray[np.uint8]
RowArray = npt.NDArray[Any]
"""Rows of one of the structured types below."""

VALIDATOR: Final = np.dtype(
    [
        ("pubkey", "u1", (48,)),
        ("withdrawal_credentials", "u1", (32,)),
        ("effective_balance", "<u8"),
        ("slashed", "u1"),
        ("activation_eligibility_epoch", "<u8"),
        ("activation_epoch", "<u8"),
        ("exit_epoch", "<u8"),
        ("withdrawable_epoch", "<u8"),
    ]
)
PENDING_DEPOSIT: Final = np.dtype(
    [
        ("pubkey", "u1", (48,)),
        ("withdrawal_credentials", "u1", (32,)),
        ("amount", "<u8"),
        ("signature", "u1", (96,)),
        ("slot", "<u8"),
    ]
)
PENDING_PARTIAL_WITHDRAWAL: Final = np.dtype(
    [("validator_index", "<u8"), ("amount", "<u8"), ("withdrawable_epoch", "<u8")]
)
PENDING_CONSOLIDATION: Final = np.dtype([("source_index", "<u8"), ("target_index", "<u8")])


@dataclass(frozen=True, slots=True)
class BeaconState:
    """One beacon state of n validators, position = validator index.

    The arrays may be read-only, unaligned views of one buffer: nothing is copied, so numbers are
    unsigned and an epoch that was never set is FAR_FUTURE_EPOCH. Amounts are gwei.

    ``validators`` (n) has the fields of ``VALIDATOR``. ``previous_epoch_participation`` and
    ``current_epoch_participation`` (n) are the flags of the epoch before the state's and of the
    state's. ``slashings`` is a ring by epoch, ``block_roots`` one by slot and ``randao_mixes`` one
    by epoch. ``current_sync_committee`` and ``next_sync_committee`` are the public keys of the
    seats, (SYNC_COMMITTEE_SIZE, 48). ``latest_block_slot``: of the last block, ``slot`` itself
    unless that was missed. ``justification_bits``: bit k is set if the epoch k before the state's
    is justified.
    The queues have the fields of the types above and are None before Electra;
    ``proposer_lookahead`` (validator index of each slot from the epoch's first) before Fulu.
    """

    fork: Fork
    genesis_time: int
    genesis_validators_root: bytes
    slot: int
    latest_block_slot: int
    validators: RowArray
    balances: UInt64Array
    previous_epoch_participation: UInt8Array
    current_epoch_participation: UInt8Array
    inactivity_scores: UInt64Array
    slashings: UInt64Array
    block_roots: ByteMatrix
    randao_mixes: ByteMatrix
    current_sync_committee: ByteMatrix
    next_sync_committee: ByteMatrix
    justification_bits: int
    checkpoints: FinalityCheckpoints
    pending_deposits: RowArray | None
    pending_partial_withdrawals: RowArray | None
    pending_consolidations: RowArray | None
    proposer_lookahead: UInt64Array | None

    def __len__(self) -> int:
        return len(self.validators)
