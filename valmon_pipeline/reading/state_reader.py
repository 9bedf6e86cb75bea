"""Reads the states that tell what nothing else does, and proves whose they are.

Each is gone when the function that read it returns: one at a time is in memory.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import numpy as np

from valmon_pipeline.beacon.answers import Genesis, PendingConsolidations, PendingDeposit
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.chain.beacon_state import BeaconState, RowArray
from valmon_pipeline.chain.blocks import Deposit
from valmon_pipeline.chain.canonical import CanonicalChain
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.state_rewards import StateRewards, state_rewards
from valmon_pipeline.epoch.epoch_answers import PendingQueues, SlashingSums
from valmon_pipeline.errors import (
    ChainChangedError,
    ObjectUnavailableError,
    RequestRefusedError,
    UnsupportedForkError,
)
from valmon_pipeline.reading.window_reader import Window

logger = logging.getLogger(__name__)

_NOT_SERVED = (ObjectUnavailableError, RequestRefusedError, UnsupportedForkError)


@dataclass(frozen=True, slots=True)
class NetworkAnswer:
    """What the state says of everybody, or why it was asked for in vain; neither: it was not."""

    rewards: StateRewards | None
    unavailable: str | None = None


@dataclass(frozen=True, slots=True)
class StateReader:
    """Reads states of one node that lie on the chain of a window.

    A node that does not serve a state (no debug endpoint, pruned, of a fork whose states valmon
    cannot read) is no reason to lose the epoch: the methods then say so.

    All raise:
        ChainChangedError: the state is not on the chain of the window.
        ChainRuleViolationError: it holds what no state can hold.
        BeaconApiError: the node does not answer, or what it sends is no such state.
    """

    client: BeaconClient
    spec: ChainSpec
    genesis: Genesis

    async def network(self, epoch: int, window: Window) -> NetworkAnswer:
        """Everybody's rewards for ``epoch``, from the last slot of the one after it."""
        try:
            state = await self._state(self.spec.last_slot(epoch + 1), window)
        except _NOT_SERVED as error:
            logger.warning("nothing is known of the whole network in epoch %d: %s", epoch, error)
            return NetworkAnswer(None, str(error))
        return NetworkAnswer(await asyncio.to_thread(state_rewards, self.spec, state))

    async def queues(self, epoch: int, window: Window) -> PendingQueues | None:
        """The queues at the first slots of ``epoch`` and the next; None if they are not known."""
        ends = []
        for slot in (self.spec.first_slot(epoch), self.spec.first_slot(epoch + 1)):
            try:
                state = await self._state(slot, window)
            except _NOT_SERVED as error:
                logger.info("the queues in epoch %d are not known: %s", epoch, error)
                return None
            if state.pending_deposits is None or state.pending_consolidations is None:
                return None
            ends.append(
                (_deposits(state.pending_deposits), _consolidations(state.pending_consolidations))
            )
        (deposits, consolidations), (deposits_at_end, consolidations_at_end) = ends
        return PendingQueues(deposits, deposits_at_end, consolidations, consolidations_at_end)

    async def slashing_sums(self, epoch: int, window: Window) -> SlashingSums | None:
        """What correlation penalties at the end of ``epoch`` go by; None if it is not known."""
        try:
            state = await self._state(self.spec.last_slot(epoch), window)
        except _NOT_SERVED as error:
            logger.info("what was slashed up to epoch %d is not known: %s", epoch, error)
            return None
        rewards = await asyncio.to_thread(state_rewards, self.spec, state)
        return SlashingSums(sum(state.slashings.tolist()), rewards.total_active_balance)

    async def _state(self, slot: int, window: Window) -> BeaconState:
        state = await self.client.beacon_state(slot, self.genesis)
        _require_same_chain(state, window.canonical, self.client.name)
        return state


def _require_same_chain(state: BeaconState, chain: CanonicalChain, node: str) -> None:
    """The state's roots of the window's slots, and its last block, are those of the window."""
    if len(chain.slot) == 0:
        return
    where = f"GET /eth/v2/debug/beacon/states/{state.slot} of {node}"
    slots = range(chain.first_slot, state.slot)
    of_state = state.block_roots[np.array(slots, np.int64) % len(state.block_roots)]
    for slot, root in zip(slots, of_state, strict=True):
        if bytes(root) != chain.root_at(slot):
            raise ChainChangedError(
                f"{where}: the root of slot {slot} in the state, 0x{bytes(root).hex()}, is not "
                "that of the chain that was read"
            )
    before = chain.slot[chain.slot <= state.slot]
    if len(before) and state.latest_block_slot != int(before[-1]):
        raise ChainChangedError(
            f"{where}: the state's last block is of slot {state.latest_block_slot}, that of the "
            f"chain that was read of slot {int(before[-1])}"
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
