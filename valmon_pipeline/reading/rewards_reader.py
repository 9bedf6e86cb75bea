"""Reads the rewards that one node reports for an epoch and for both of its first slots.

Neighbouring epochs share answers: the attestation rewards of one are what the end of the next
credits, and the block at the border counts on both sides.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from valmon_pipeline.beacon.answers import (
    AttestationRewards,
    BlockRewards,
    ProposerDuties,
    SyncCommitteeRewards,
)
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.beacon.validator_ids import EVERYONE
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.epoch.rewards import neighbours
from valmon_pipeline.errors import MalformedAnswerError, ObjectUnavailableError
from valmon_pipeline.reading.side_by_side import all_of
from valmon_pipeline.reading.window_reader import Window

logger = logging.getLogger(__name__)


class RewardsReader:
    """Rewards from one node, kept as long as the next epoch needs them."""

    def __init__(self, client: BeaconClient) -> None:
        self._client = client
        self._attestations: dict[int, AttestationRewards] = {}
        self._blocks: dict[bytes, BlockRewards] = {}
        self._sync: dict[bytes, SyncCommitteeRewards] = {}

    def forget(self) -> None:
        """Drop everything: the chain has changed."""
        self._attestations.clear()
        self._blocks.clear()
        self._sync.clear()

    async def attestations(
        self, epoch: int, watched: Int64Array, *, everyone: bool
    ) -> AttestationRewards:
        """Rewards for attestations with target ``epoch``, of ``watched`` or of everyone."""
        rewards = await self._client.attestation_rewards(epoch, EVERYONE if everyone else watched)
        self._attestations = {
            known: kept for known, kept in self._attestations.items() if known >= epoch - 1
        }
        self._attestations[epoch] = rewards
        return rewards

    async def previous_attestations(
        self, epoch: int, watched: Int64Array, *, everyone: bool
    ) -> AttestationRewards | None:
        """The same for the epoch before ``epoch``; None before the first, or if the node has none.

        A bad answer about that epoch fails that epoch, not this one: here its rewards are merely
        unknown, which the ledger says. A node that does not answer at all fails this one too.
        """
        if epoch == 0:
            return None
        known = self._attestations.get(epoch - 1)
        if known is not None:
            return known
        try:
            return await self.attestations(epoch - 1, watched, everyone=everyone)
        except ObjectUnavailableError as error:
            logger.info("the ledger of epoch %d lacks attestation rewards: %s", epoch, error)
        except MalformedAnswerError as error:
            logger.warning("the ledger of epoch %d lacks attestation rewards: %s", epoch, error)
        return None

    async def blocks(
        self,
        spec: ChainSpec,
        epoch: int,
        window: Window,
        duties: ProposerDuties,
        watched: Int64Array,
    ) -> Mapping[int, BlockRewards]:
        """Rewards by slot, from the first slot of ``epoch`` to that of the next: of blocks by
        ``watched`` proposers, and of the neighbours of their missed proposals."""
        end = spec.first_slot(epoch + 1)
        slots = _rewarded_slots(window)
        ours = set(watched.tolist())
        wanted = {
            slot for slot in slots if slot <= end and window.blocks[slot].proposer_index in ours
        }
        due = duties.slot[np.isin(duties.validator_index, watched)]
        for missed in np.setdiff1d(due, window.canonical.slot).tolist():
            wanted.update(neighbours(np.array(slots, dtype=np.int64), missed))
        roots = {slot: window.canonical.root_at(slot) for slot in sorted(wanted)}
        unknown = [root for root in roots.values() if root not in self._blocks]
        answers = await all_of(*(self._client.block_rewards(root) for root in unknown))
        self._blocks |= dict(zip(unknown, answers, strict=True))
        self._blocks = {root: self._blocks[root] for root in roots.values()}
        return {slot: self._blocks[root] for slot, root in roots.items()}

    async def sync_committee(
        self, spec: ChainSpec, epoch: int, window: Window, members: Int64Array
    ) -> Mapping[int, SyncCommitteeRewards]:
        """Rewards of whole committees by slot, in the same slots, where there may be watched ones.

        ``members`` are the watched members of the committee of ``epoch``. All members of it: at
        most one committee (512 rows on mainnet), and enough to derive the reward per seat.
        """
        end = spec.first_slot(epoch + 1)
        new_committee = (epoch + 1) % spec.epochs_per_sync_committee_period == 0
        slots = [
            slot
            for slot in _rewarded_slots(window)
            if (slot < end and len(members)) or (slot == end and (len(members) or new_committee))
        ]
        roots = {slot: window.canonical.root_at(slot) for slot in slots}
        unknown = [root for root in roots.values() if root not in self._sync]
        answers = await all_of(
            *(self._client.sync_committee_rewards(root, EVERYONE) for root in unknown)
        )
        self._sync |= dict(zip(unknown, answers, strict=True))
        self._sync = {root: self._sync[root] for root in roots.values()}
        return {slot: self._sync[root] for slot, root in roots.items()}


def _rewarded_slots(window: Window) -> list[int]:
    """The slots of the window's blocks, without genesis: that block was not proposed by anybody."""
    slots: list[int] = window.canonical.slot[window.canonical.slot > 0].tolist()
    return slots
