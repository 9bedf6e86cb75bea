"""Sync committee: amounts per seat and block, who took part, and what it earned them.

Source: consensus-specs, ``process_sync_aggregate`` of ``specs/altair/beacon-chain.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from valmon_pipeline.chain.bits import decode_bitvector
from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.registry import BoolArray, Int64Array
from valmon_pipeline.chain.rewards import base_reward_per_increment
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.weights import (
    PROPOSER_WEIGHT,
    SYNC_REWARD_WEIGHT,
    WEIGHT_DENOMINATOR,
)
from valmon_pipeline.errors import ChainRuleViolationError


@dataclass(frozen=True, slots=True)
class SyncRewards:
    """Gwei of each member (m, ascending by ``validator_index``) for each block (b, by ``slot``).

    ``reward`` is (b, m): the seats of a member that signed less those that did not, times what a
    seat earns; negative if more are missing. A balance that ran out lost less than that.
    """

    validator_index: Int64Array
    seats: Int64Array
    slot: Int64Array
    reward: Int64Array

    @property
    def total(self) -> Int64Array:
        """The reward of each member (m) for all blocks, gwei."""
        total: Int64Array = self.reward.sum(axis=0)
        return total


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
    _require_seats(spec, sync_committee)
    signed = np.zeros(len(sync_committee), dtype=np.int64)
    block_count = 0
    for block in blocks:
        signed += sync_bits(spec, block)
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


def sync_proposer_reward(spec: ChainSpec, total_active_balance: int) -> int:
    """Gwei that a block's proposer earns for each seat whose bit is set."""
    participant = sync_participant_reward(spec, total_active_balance)
    return participant * PROPOSER_WEIGHT // (WEIGHT_DENOMINATOR - PROPOSER_WEIGHT)


def sync_rewards(
    spec: ChainSpec,
    sync_committee: Int64Array,
    blocks: Sequence[Block],
    total_active_balance: int,
) -> SyncRewards:
    """Return what ``blocks`` of one epoch earned the members of its ``sync_committee`` (one
    validator index per seat).

    ``total_active_balance`` (gwei) is that of the epoch.

    Raises:
        ChainRuleViolationError: blocks of several epochs, the committee has not SYNC_COMMITTEE_SIZE
            seats, or a block's sync bits are missing or malformed.
    """
    _require_seats(spec, sync_committee)
    epochs = {spec.epoch_of(block.slot) for block in blocks}
    if len(epochs) > 1:
        raise ChainRuleViolationError(
            f"sync rewards are computed for one epoch at a time, since the total active balance "
            f"changes with it; the blocks are of epochs {sorted(epochs)}"
        )
    member, seat_member, seats = np.unique(sync_committee, return_inverse=True, return_counts=True)
    net = np.zeros((len(blocks), len(member)), dtype=np.int64)
    for row, block in enumerate(blocks):
        np.add.at(net[row], seat_member, np.where(sync_bits(spec, block), 1, -1))
    return SyncRewards(
        validator_index=member,
        seats=seats.astype(np.int64),
        slot=np.array([block.slot for block in blocks], dtype=np.int64),
        reward=net * sync_participant_reward(spec, total_active_balance),
    )


def sync_bits(spec: ChainSpec, block: Block) -> BoolArray:
    """The bit of each seat (SYNC_COMMITTEE_SIZE) in a block.

    Raises:
        ChainRuleViolationError: the bits are missing or malformed.
    """
    if block.sync_committee_bits is None:
        raise ChainRuleViolationError(f"the block of slot {block.slot} has no sync aggregate")
    return decode_bitvector(block.sync_committee_bits, spec.sync_committee_size)


def _require_seats(spec: ChainSpec, sync_committee: Int64Array) -> None:
    if len(sync_committee) != spec.sync_committee_size:
        raise ChainRuleViolationError(
            f"the sync committee has {len(sync_committee)} seats, expected SYNC_COMMITTEE_SIZE = "
            f"{spec.sync_committee_size}"
        )
