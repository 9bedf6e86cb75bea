"""Rewards of an epoch and of both of its first slots, as far as any source tells them.

Neighbouring epochs share answers: the attestation rewards of one are what the end of the next
credits, and the block at the border counts on both sides.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

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
from valmon_pipeline.chain.sync_committee import sync_participation
from valmon_pipeline.epoch.facts import Fact, FactSource
from valmon_pipeline.epoch.rewards import neighbours
from valmon_pipeline.epoch.source_names import SourceName
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline.reading.ladder import Ladder, Source, sources_of
from valmon_pipeline.reading.state_reader import StateReader
from valmon_pipeline.reading.window_reader import Window

logger = logging.getLogger(__name__)

MANY_VALIDATORS: Final = 500
"""From so many on all rewards are asked for: some clients compare a list with the whole registry,
entry by entry."""
_BLOCKS_FOR_A_SEAT: Final = 3
"""Blocks that are asked for what a seat earns before it is taken for unknown."""


class RewardsReader:
    """Rewards from one node, kept as long as the next epoch needs them."""

    def __init__(
        self, client: BeaconClient, spec: ChainSpec, ladder: Ladder, states: StateReader
    ) -> None:
        self._client = client
        self._spec = spec
        self._ladder = ladder
        self._states = states
        self._attestations: dict[int, tuple[AttestationRewards, FactSource]] = {}
        self._blocks: dict[bytes, BlockRewards] = {}
        self._seats: dict[bytes, SyncCommitteeRewards] = {}
        self._prices: dict[int, int] = {}

    def forget(self) -> None:
        """Drop everything: the chain has changed."""
        self._attestations.clear()
        self._blocks.clear()
        self._seats.clear()
        self._prices.clear()

    def settle(
        self, epoch: int, rewards: AttestationRewards | None, sources: Sequence[FactSource]
    ) -> None:
        """Take what was settled on for ``epoch``: the next epoch credits that, not what a node
        says."""
        source = next((one for one in sources if one.fact is Fact.ATTESTATION_REWARDS), None)
        if rewards is not None and rewards.inactivity_known is None and source is not None:
            self._attestations[epoch] = rewards, source

    async def attestations(
        self,
        fact: Fact,
        epoch: int,
        watched: Int64Array,
        window: Window,
        *,
        everyone: bool,
        leak: bool | None,
    ) -> AttestationRewards | None:
        """Return the rewards for attestations with target ``epoch`` as ``fact``.

        They are those of ``watched`` or of everyone; None if no source gives them, or before the
        first epoch. The state comes before the node's own rewards where a leak may be on: what
        some clients tell of inactivity penalties is not what was taken.
        """
        if epoch < 0:
            self._ladder.know(fact, "genesis")
            return None
        known = self._attestations.get(epoch)
        if known is not None:
            rewards, source = known
            self._ladder.taken[fact] = replace(
                source, fact=fact, compared=None, deviating=None, largest_deviation=None
            )
            return rewards
        wanted = EVERYONE if everyone or len(watched) > MANY_VALIDATORS else watched
        sources = sources_of(
            fact,
            {
                SourceName.ATTESTATION_REWARDS: lambda: self._client.attestation_rewards(
                    epoch, wanted
                ),
                SourceName.PARTICIPATION: lambda: self._states.attestation_rewards(epoch, window),
            },
        )
        found = await self._ladder.climb(fact, sources[::-1] if leak else sources)
        if found is not None:
            self._attestations = {
                kept: known for kept, known in self._attestations.items() if kept >= epoch - 1
            }
            self._attestations[epoch] = found, self._ladder.taken[fact]
        return found

    async def blocks(
        self,
        epoch: int,
        window: Window,
        duties: ProposerDuties | None,
        watched: Int64Array,
        computed: Source[dict[int, BlockRewards]] | None,
        *,
        computed_first: bool,
    ) -> Mapping[int, BlockRewards]:
        """Return rewards by slot, from the first slot of ``epoch`` to that of the next.

        They are of blocks by ``watched`` proposers, and of the neighbours of their missed
        proposals. The node is asked for each block, and ``computed`` gives what it does not tell;
        or the other way round. A slot that neither tells is left out, and the fact is missing.
        """
        end = self._spec.first_slot(epoch + 1)
        slots = _rewarded_slots(window)
        ours = set(watched.tolist())
        wanted = {
            slot for slot in slots if slot <= end and window.blocks[slot].proposer_index in ours
        }
        if duties is not None:
            due = duties.slot[np.isin(duties.validator_index, watched)]
            for missed in np.setdiff1d(due, window.canonical.slot).tolist():
                wanted.update(neighbours(np.array(slots, dtype=np.int64), missed))
        roots = {slot: window.canonical.root_at(slot) for slot in sorted(wanted)}
        found: dict[int, BlockRewards] = {}
        sources: list[FactSource] = []
        if computed_first and roots:
            await self._compute(computed, roots, found, sources)
        for slot in [slot for slot in roots if slot not in found]:
            root = roots[slot]
            if root not in self._blocks:
                proposer = window.blocks[slot].proposer_index
                asked = {SourceName.BLOCK_REWARDS: partial(self._block, root, proposer)}
                answer = await self._ladder.climb(
                    Fact.BLOCK_REWARDS, sources_of(Fact.BLOCK_REWARDS, asked)
                )
                sources.append(self._ladder.taken[Fact.BLOCK_REWARDS])
                if answer is None:
                    continue
                self._blocks[root] = answer
            found[slot] = self._blocks[root]
        if not computed_first and roots.keys() - found.keys():
            await self._compute(computed, roots, found, sources)
        self._blocks = {root: self._blocks[root] for root in roots.values() if root in self._blocks}
        self._enter_blocks(roots, found, sources)
        return found

    async def _compute(
        self,
        computed: Source[dict[int, BlockRewards]] | None,
        roots: Mapping[int, bytes],
        found: dict[int, BlockRewards],
        sources: list[FactSource],
    ) -> None:
        """Add what the specification gives to what was found."""
        if computed is None:
            return
        rewards = await self._ladder.climb(Fact.BLOCK_REWARDS, [computed])
        sources.append(self._ladder.taken[Fact.BLOCK_REWARDS])
        if rewards is not None:
            found |= {slot: rewards[slot] for slot in roots if slot in rewards} | found

    async def seats(
        self,
        epoch: int,
        window: Window,
        seats: Int64Array | None,
        seats_at_end: Int64Array | None,
        watched: Int64Array,
    ) -> tuple[int | None, int | None]:
        """Return what a seat earns in a block of ``epoch`` and in the first block of the next.

        One block of each epoch tells it: the price of a seat is the same in all blocks of an
        epoch. Nothing is asked where no watched validator has a seat.
        """
        end = self._spec.first_slot(epoch + 1)
        slots = [slot for slot in _rewarded_slots(window) if slot < end][::-1]
        asked = [
            (holders, of_slots)
            for holders, of_slots in ((seats, slots), (seats_at_end, [end]))
            if holders is not None and np.isin(holders, watched).any()
        ]
        if not asked:
            if seats is None:
                self._ladder.miss(Fact.SYNC_REWARDS, "the sync committee is not known")
            else:
                self._ladder.know(Fact.SYNC_REWARDS, "no watched member")
            return None, None
        prices: list[int | None] = []
        taken: list[FactSource] = []
        for one, holders, of_slots in ((epoch, seats, slots), (epoch + 1, seats_at_end, [end])):
            price = self._prices.get(one)
            if holders is not None and np.isin(holders, watched).any():
                if price is None:
                    price = await self._seat_reward(window, holders, of_slots)
                else:
                    self._ladder.know(Fact.SYNC_REWARDS, SourceName.SYNC_REWARDS.value)
                taken.append(self._ladder.taken[Fact.SYNC_REWARDS])
            prices.append(price)
        self._prices = {} if prices[1] is None else {epoch + 1: prices[1]}
        # What is missing in either is missing.
        unknown = next((source for source in taken if not source.is_known), None)
        self._ladder.taken[Fact.SYNC_REWARDS] = unknown or taken[0]
        return prices[0], prices[1]

    async def _seat_reward(
        self, window: Window, seats: Int64Array, slots: Sequence[int]
    ) -> int | None:
        fact = Fact.SYNC_REWARDS
        blocks = [slot for slot in slots if slot in window.blocks]
        if not blocks:
            self._ladder.know(fact, "no block")
        for slot in blocks[:_BLOCKS_FOR_A_SEAT]:
            root = window.canonical.root_at(slot)
            if root not in self._seats:
                rows = await self._ladder.climb(
                    fact, sources_of(fact, {SourceName.SYNC_REWARDS: partial(self._seat, root)})
                )
                if rows is None:
                    continue
                self._seats = dict(list(self._seats.items())[-3:]) | {root: rows}
            else:
                self._ladder.know(fact, SourceName.SYNC_REWARDS.value)
            price = _implied_seat_reward(self._spec, seats, window, slot, self._seats[root])
            if price is not None:
                return price
            self._ladder.miss(fact, f"the rewards of slot {slot} do not tell what a seat earns")
        return None

    async def _block(self, root: bytes, proposer: int) -> BlockRewards:
        rewards = await self._client.block_rewards(root)
        if rewards.proposer_index != proposer:
            raise ChainRuleViolationError(
                f"the rewards of block 0x{root.hex()} are said to be validator "
                f"{rewards.proposer_index}'s, but the block is by validator {proposer}"
            )
        return rewards

    async def _seat(self, root: bytes) -> SyncCommitteeRewards:
        return await self._client.sync_committee_rewards(root, EVERYONE)

    def _enter_blocks(
        self,
        roots: Mapping[int, bytes],
        found: Mapping[int, BlockRewards],
        sources: Sequence[FactSource],
    ) -> None:
        """One source for all blocks: the fact is known if every block's rewards are."""
        missing = sorted(roots.keys() - found.keys())
        reason = _reasons(sources)
        if not roots:
            self._ladder.know(Fact.BLOCK_REWARDS, "no proposal")
        elif missing:
            self._ladder.miss(
                Fact.BLOCK_REWARDS, f"unknown for slots {missing[:5]}: {reason or 'refused'}"
            )
        else:
            gave = [one for one in sources if one.source is not None]
            names = dict.fromkeys(one.source for one in gave if one.source is not None)
            self._ladder.know(
                Fact.BLOCK_REWARDS,
                ", ".join(names) or SourceName.BLOCK_REWARDS.value,
                node=gave[0].node if gave else None,
                reason=reason,
            )


def _reasons(sources: Sequence[FactSource]) -> str | None:
    """The first two different reasons: of many blocks most are refused for the same one."""
    reasons = dict.fromkeys(one.reason for one in sources if one.reason)
    return "; ".join(list(reasons)[:2]) or None


def _implied_seat_reward(
    spec: ChainSpec, seats: Int64Array, window: Window, slot: int, rows: SyncCommitteeRewards
) -> int | None:
    """The reward per seat that the rows of one block imply; None if they imply none.

    A member's reward is its net seats (signed minus missed) times the reward per seat, except where
    its balance ran out; the value that most rows agree on is taken.
    """
    members = sync_participation(spec, seats, [window.blocks[slot]])
    net = members.participated - members.missed
    at = np.flatnonzero(np.isin(members.validator_index, rows.validator_index) & (net != 0))
    if not len(at):
        return None
    reported = np.searchsorted(rows.validator_index, members.validator_index[at])
    values, counts = np.unique(rows.reward[reported] // net[at], return_counts=True)
    return int(values[counts.argmax()])


def _rewarded_slots(window: Window) -> list[int]:
    """The slots of the window's blocks, without genesis: that block was not proposed by anybody."""
    slots: list[int] = window.canonical.slot[window.canonical.slot > 0].tolist()
    return slots
