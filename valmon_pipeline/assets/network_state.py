"""Reads the state that tells what the whole network did in an epoch, and proves whose it is."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import numpy as np

from valmon_pipeline.assets.window_reader import Window
from valmon_pipeline.beacon.answers import Genesis
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.state_rewards import StateRewards, state_rewards
from valmon_pipeline.errors import (
    ChainChangedError,
    ObjectUnavailableError,
    RequestRefusedError,
    UnsupportedForkError,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NetworkAnswer:
    """What the state says of everybody, or why it was asked for in vain; neither: it was not."""

    rewards: StateRewards | None
    unavailable: str | None = None


async def read_network(
    client: BeaconClient, spec: ChainSpec, genesis: Genesis, epoch: int, window: Window
) -> NetworkAnswer:
    """Everybody's rewards for ``epoch``, from the state of the last slot of the one after it.

    A node that does not serve that state (no debug endpoint, pruned, of a fork whose states valmon
    cannot read) is no reason to lose the epoch: the answer then says why. The state itself is gone
    when this returns.

    Raises:
        ChainChangedError: the state is not on the chain of ``window``.
        ChainRuleViolationError: it holds what no state can hold.
        BeaconApiError: the node does not answer, or what it sends is no such state.
    """
    slot = spec.last_slot(epoch + 1)
    try:
        state = await client.beacon_state(slot, genesis)
    except (ObjectUnavailableError, RequestRefusedError, UnsupportedForkError) as error:
        logger.warning("nothing is known of the whole network in epoch %d: %s", epoch, error)
        return NetworkAnswer(None, str(error))
    _require_same_chain(state, window, spec.first_slot(epoch), client.name)
    return NetworkAnswer(await asyncio.to_thread(state_rewards, spec, state))


def _require_same_chain(state: BeaconState, window: Window, first: int, node: str) -> None:
    """The state's roots of the window's slots, and its last block, are those of the window."""
    if len(window.canonical.slot) == 0:
        return
    last_block = int(window.canonical.slot[-1])
    of_state = state.block_roots[np.arange(first, state.slot) % len(state.block_roots)]
    for slot, root in zip(range(first, state.slot), of_state, strict=True):
        if bytes(root) != window.canonical.root_at(slot):
            raise ChainChangedError(
                f"GET /eth/v2/debug/beacon/states/{state.slot} of {node}: the root of slot {slot} "
                f"in the state, 0x{bytes(root).hex()}, is not that of the chain that was read"
            )
    if state.latest_block_slot != last_block:
        raise ChainChangedError(
            f"GET /eth/v2/debug/beacon/states/{state.slot} of {node}: the state's last block is of "
            f"slot {state.latest_block_slot}, that of the chain that was read of slot {last_block}"
        )
