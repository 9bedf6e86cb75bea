"""Reads the states that tell what nothing else does, and proves whose they are.

One at a time is in memory.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import numpy as np

from valmon_pipeline.beacon.answers import (
    AttestationRewards,
    Genesis,
    PendingConsolidations,
    PendingDeposit,
    ProposerDuties,
)
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.chain.beacon_state import BeaconState, RowArray
from valmon_pipeline.chain.blocks import Deposit
from valmon_pipeline.chain.canonical import CanonicalChain
from valmon_pipeline.chain.committee_shuffling import committees_of_state
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.proposer_selection import proposers_of_state
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.rewards import ideal_attestation_rewards
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.state_rewards import StateRewards, state_rewards
from valmon_pipeline.chain.sync_committee_selection import sync_committee_of_state
from valmon_pipeline.epoch.epoch_answers import PendingQueues, SlashingSums
from valmon_pipeline.errors import ChainChangedError, UnsupportedForkError
from valmon_pipeline.reading.window_reader import Window

_LIFE_CYCLE: Final = np.dtype([("activation_epoch", "<u8"), ("exit_epoch", "<u8")])


class StateReader:
    """Reads states of one node that lie on the chain of a window.

    A node that does not serve a state (no debug endpoint, pruned, of a fork whose states valmon
    cannot read) is no reason to lose the epoch: it refuses one source of one fact.

    All methods raise:
        ChainChangedError: the state is not on the chain of the window.
        ChainRuleViolationError: it holds what no state can hold.
        BeaconApiError, UnsupportedForkError: the node does not serve such a state.
    """

    def __init__(self, client: BeaconClient, spec: ChainSpec, genesis: Genesis) -> None:
        self.client = client
        self.spec = spec
        self.genesis = genesis
        self._one_at_a_time = asyncio.Lock()
        self._latest: BeaconState | None = None
        self._recent: BeaconState | None = None

    def forget(self) -> None:
        """Drop what is kept: the chain has changed."""
        self._latest = self._recent = None

    def release(self) -> None:
        """Let the last state go: the next epoch needs another one."""
        self._latest = None

    async def committees(self, epoch: int, head_epoch: int, window: Window) -> Committees:
        """Return the committees of ``epoch`` by the specification's shuffling.

        The state at the first slot of the head's epoch tells them for any epoch of the last
        EPOCHS_PER_HISTORICAL_VECTOR; what it takes is kept for the epochs that follow.
        """
        recent = self._recent
        if recent is None or self.spec.epoch_of(recent.slot) < epoch:
            state = await self._state(self.spec.first_slot(max(epoch, head_epoch)), window)
            recent = self._recent = _for_shuffling(state)
        return await asyncio.to_thread(committees_of_state, self.spec, recent, epoch)

    async def sync_committee(self, epoch: int, window: Window) -> Int64Array:
        """Return the validator of each seat of the sync committee, from the epoch's own state."""
        state = await self._state(self.spec.first_slot(epoch), window)
        return sync_committee_of_state(self.spec, state, epoch)

    async def proposers(self, epoch: int, window: Window) -> ProposerDuties:
        """Return the proposers of ``epoch``, from the epoch's own state."""
        state = await self._state(self.spec.first_slot(epoch), window)
        proposers = await asyncio.to_thread(proposers_of_state, self.spec, state, epoch)
        slots = self.spec.first_slot(epoch) + np.arange(len(proposers), dtype=np.int64)
        return ProposerDuties(slots[slots > 0], proposers[slots > 0])

    async def attestation_rewards(self, epoch: int, window: Window) -> AttestationRewards:
        """Return everybody's attestation rewards for ``epoch``, computed from participation."""
        state = await self._state(self.spec.last_slot(epoch + 1), window)
        rewards = await asyncio.to_thread(state_rewards, self.spec, state)
        return _as_attestation_rewards(self.spec, rewards)

    async def network(self, epoch: int, window: Window) -> StateRewards:
        """Return everybody's rewards for ``epoch``, from the last slot of the one after it."""
        state = await self._state(self.spec.last_slot(epoch + 1), window)
        return await asyncio.to_thread(state_rewards, self.spec, state)

    async def queues(self, epoch: int, window: Window) -> PendingQueues:
        """Return the queues at the first slots of ``epoch`` and the next."""
        ends = []
        for slot in (self.spec.first_slot(epoch), self.spec.first_slot(epoch + 1)):
            state = await self._state(slot, window)
            if state.pending_deposits is None or state.pending_consolidations is None:
                raise UnsupportedForkError(f"the state of slot {slot} has no queues ({state.fork})")
            ends.append(
                (_deposits(state.pending_deposits), _consolidations(state.pending_consolidations))
            )
        (deposits, consolidations), (deposits_at_end, consolidations_at_end) = ends
        return PendingQueues(deposits, deposits_at_end, consolidations, consolidations_at_end)

    async def slashing_sums(self, epoch: int, window: Window) -> SlashingSums:
        """Return what correlation penalties at the end of ``epoch`` go by."""
        state = await self._state(self.spec.last_slot(epoch), window)
        rewards = await asyncio.to_thread(state_rewards, self.spec, state)
        return SlashingSums(sum(state.slashings.tolist()), rewards.total_active_balance)

    async def _state(self, slot: int, window: Window) -> BeaconState:
        """The state after ``slot``; the last one is kept, since several facts may need it."""
        async with self._one_at_a_time:
            state = self._latest
            if state is None or state.slot != slot:
                self._latest = None
                state = self._latest = await self.client.beacon_state(slot, self.genesis)
        _require_same_chain(state, window.canonical, self.client.name)
        return state


def _require_same_chain(state: BeaconState, chain: CanonicalChain, node: str) -> None:
    """The state's roots of the window's slots, and its last block, are those of the window.

    A state so late that it holds no root of the window any more proves nothing, and contradicts
    nothing either.
    """
    if len(chain.slot) == 0:
        return
    where = f"GET /eth/v2/debug/beacon/states/{state.slot} of {node}"
    oldest = state.slot - len(state.block_roots)
    slots = range(max(chain.first_slot, oldest), min(state.slot, chain.last_slot + 1))
    of_state = state.block_roots[np.array(slots, np.int64) % len(state.block_roots)]
    for slot, root in zip(slots, of_state, strict=True):
        if bytes(root) != chain.root_at(slot):
            raise ChainChangedError(
                f"{where}: the root of slot {slot} in the state, 0x{bytes(root).hex()}, is not "
                "that of the chain that was read"
            )
    before = chain.slot[chain.slot <= state.slot]
    if state.slot <= chain.last_slot and len(before) and state.latest_block_slot != int(before[-1]):
        raise ChainChangedError(
            f"{where}: the state's last block is of slot {state.latest_block_slot}, that of the "
            f"chain that was read of slot {int(before[-1])}"
        )


def _for_shuffling(state: BeaconState) -> BeaconState:
    """The state with copies of what a shuffling takes, so that the rest of it can go."""
    rows = np.empty(len(state), dtype=_LIFE_CYCLE)
    for name in _LIFE_CYCLE.names or ():
        rows[name] = state.validators[name]
    nothing = np.empty(0, dtype=np.uint8)
    return replace(
        state,
        validators=rows,
        randao_mixes=state.randao_mixes.copy(),
        balances=nothing.astype(np.uint64),
        previous_epoch_participation=nothing,
        current_epoch_participation=nothing,
        inactivity_scores=nothing.astype(np.uint64),
        slashings=nothing.astype(np.uint64),
        block_roots=nothing.reshape(0, 32),
        current_sync_committee=nothing.reshape(0, 48),
        next_sync_committee=nothing.reshape(0, 48),
        pending_deposits=None,
        pending_partial_withdrawals=None,
        pending_consolidations=None,
        proposer_lookahead=None,
    )


def _as_attestation_rewards(spec: ChainSpec, rewards: StateRewards) -> AttestationRewards:
    """The rewards of a state in the columns of ``rewards/attestations``, of everybody eligible,
    with an ideal row per effective balance that anybody has."""
    groups, group = rewards.groups, rewards.group
    eligible = np.flatnonzero(groups.eligible[group]).astype(np.int64)
    of_group = group[eligible]
    balances = np.unique(groups.effective_balance[of_group])
    ideal = ideal_attestation_rewards(
        spec,
        balances,
        rewards.total_active_balance,
        rewards.participating,
        inactivity_leak=rewards.inactivity_leak,
    )
    return AttestationRewards(
        validator_index=eligible,
        source=groups.source[of_group],
        target=groups.target[of_group],
        head=groups.head[of_group],
        inactivity=-rewards.inactivity_penalty[eligible],
        ideal_effective_balance=balances,
        ideal_source=ideal.source,
        ideal_target=ideal.target,
        ideal_head=ideal.head,
    )


def _deposits(queue: RowArray) -> tuple[PendingDeposit, ...]:
    return tuple(
        PendingDeposit(
            Deposit(
                row["pubkey"].tobytes(),
                row["withdrawal_credentials"].tobytes(),
                int(row["amount"]),
                row["signature"].tobytes(),
            ),
            int(row["slot"]),
        )
        for row in queue
    )


def _consolidations(queue: RowArray) -> PendingConsolidations:
    return PendingConsolidations(
        queue["source_index"].astype(np.int64), queue["target_index"].astype(np.int64)
    )
