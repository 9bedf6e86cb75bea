"""Sync committee: amounts per seat and block, and who took part.

Source: consensus-specs, ``process_sync_aggregate`` of ``specs/altair/beacon-chain.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from valmon_pipeline.chain.bits import decode_bitvector
from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.rewards import base_reward_per_increment
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.weights import SYNC_REWARD_WEIGHT, WEIGHT_DENOMINATOR
from valmon_pipeline.errors import ChainRuleViolationError


@dataclass(frozen=True, slots=True)
class SyncParticipation:
    """One row per member (m), ascending by ``validator_index``; counts are of seats.

    A member may hold several ``seats``; it owes one signature per seat and block: ``due`` =
    ``participated`` + ``missed``.
    """

    validator_index: Int64Array
    seats: Int64Array
    due: Int64Array
    participated: Int64Array
    missed: Int64Array

    def __len__(self) -> int:
        return len(self.validator_index)


def sync_participation(
    spec: ChainSpec, sync_committee: Int64Array, blocks: Iterable[Block]
) -> SyncParticipation:
    """What the members of ``sync_committee`` (one validator index per seat) did in ``blocks``.

    The blocks must be those whose epochs the committee serves; skipped slots ask nothing of anyone.

    Raises:
        ChainRuleViolationError: the committee has not SYNC_COMMITTEE_SIZE seats, or a block's sync
            bits are missing or malformed.
    """
    if len(sync_committee) != spec.sync_committee_size:
        raise ChainRuleViolationError(
            f"the sync committee has {len(sync_committee)} seats, expected SYNC_COMMITTEE_SIZE = "
            f"{spec.sync_committee_size}"
        )
    signed = np.zeros(len(sync_committee), dtype=np.int64)
    block_count = 0
    for block in blocks:
        if block.sync_committee_bits is None:
            raise ChainRuleViolationError(f"the block of slot {block.slot} has no sync aggregate")
        signed += decode_bitvector(block.sync_committee_bits, spec.sync_committee_size)
        block_count += 1
    member, seat_member, seats = np.unique(sync_committee, return_inverse=True, return_counts=True)
    participated = np.zeros(len(member), dtype=np.int64)
    np.add.at(participated, seat_member, signed)
    due = seats.astype(np.int64) * block_count
    return SyncParticipation(
        validator_index=member,
        seats=seats.astype(np.int64),
        due=due,
        participated=participated,
        missed=due - participated,
    )


def sync_participant_reward(spec: ChainSpec, total_active_balance: int) -> int:
    """Gwei a seat earns in a block if its bit is set, and loses if it is not.

    ``total_active_balance`` is that of the block's epoch.
    """
    active_increments = total_active_balance // spec.effective_balance_increment
    per_epoch = base_reward_per_increment(spec, total_active_balance) * active_increments
    return (
        per_epoch
        * SYNC_REWARD_WEIGHT
        // WEIGHT_DENOMINATOR
        // spec.slots_per_epoch
        // spec.sync_committee_size
    )
