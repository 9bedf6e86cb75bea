"""Block rewards by the specification, where a node does not tell them any more.

A vote pays the proposer of the first block that has it, so the blocks and committees of the epoch
before are needed, too: they are read only then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from valmon_pipeline.beacon.answers import BlockRewards
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.proposer_rewards import ProposerRewards, proposer_rewards
from valmon_pipeline.chain.registry import ValidatorRegistry
from valmon_pipeline.chain.rewards import total_active_balance
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline.reading.window_reader import Window, WindowReader

CommitteesOf = Callable[[int, Window], Awaitable[Committees | None]]


async def computed_block_rewards(
    spec: ChainSpec,
    epoch: int,
    windows: WindowReader,
    committees_of: CommitteesOf,
    at_start: ValidatorRegistry | None,
    at_end: ValidatorRegistry | None,
) -> dict[int, BlockRewards]:
    """Return the rewards of the blocks of ``epoch`` and of the next one, by slot.

    The registries are those of the whole network at both ends of the epoch.

    Raises:
        ChainRuleViolationError: a registry or the committees that it takes are not known.
        BeaconApiError: the node does not give the blocks of the epoch before.
    """
    if at_start is None or at_end is None:
        raise ChainRuleViolationError("the registry of the whole network is not known")
    first = spec.first_slot(max(0, epoch - 1))
    window = await windows.read(first, spec.last_slot(epoch + 1))
    committees = {
        one: await _required(committees_of, one, window)
        for one in range(max(0, epoch - 1), epoch + 1)
    }
    blocks = [window.blocks[slot] for slot in sorted(window.blocks)]
    found = await asyncio.to_thread(
        proposer_rewards,
        spec,
        epoch,
        committees,
        window.canonical,
        blocks,
        at_start,
        total_active_balance(spec, at_start, epoch),
    )
    rewards = _by_slot(found)
    if max(window.blocks, default=-1) >= spec.first_slot(epoch + 1):
        following = await _required(committees_of, epoch + 1, window)
        found = await asyncio.to_thread(
            proposer_rewards,
            spec,
            epoch + 1,
            {epoch: committees[epoch], epoch + 1: following},
            window.canonical,
            blocks,
            at_end,
            total_active_balance(spec, at_end, epoch + 1),
        )
        rewards |= _by_slot(found)
    return rewards


async def _required(committees_of: CommitteesOf, epoch: int, window: Window) -> Committees:
    found = await committees_of(epoch, window)
    if found is None:
        raise ChainRuleViolationError(f"the committees of epoch {epoch} are not known")
    return found


def _by_slot(rewards: ProposerRewards) -> dict[int, BlockRewards]:
    columns = (
        rewards.slot,
        rewards.proposer_index,
        rewards.total,
        rewards.attestations,
        rewards.sync_aggregate,
        rewards.proposer_slashings,
        rewards.attester_slashings,
    )
    return {
        row[0]: BlockRewards(*row[1:])
        for row in zip(*(column.tolist() for column in columns), strict=True)
    }
