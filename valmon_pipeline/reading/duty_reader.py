"""Who had to do what in an epoch: committees, the sync committee, and proposers.

Committees and sync committees are asked of ``head`` first: most clients answer that for any past
epoch, also when the epoch's own state is gone. Past proposer duties come last: they are refused by
most, and on Lodestar 1.39 the request spoils the cached state for the sync committee.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import numpy as np

from valmon_pipeline.beacon.answers import ProposerDuties
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.epoch.facts import Fact, FactSource
from valmon_pipeline.epoch.source_names import SourceName
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline.reading.ladder import Ladder, sources_of
from valmon_pipeline.reading.state_reader import StateReader
from valmon_pipeline.reading.window_reader import Window

logger = logging.getLogger(__name__)

Judged = TypeVar("Judged")


class DutyReader:
    """Duties from one node. ``head_epoch`` is that of its head when it was opened.

    Committees that were right for one epoch's purposes are kept in ``committees``, which readers of
    the same node can share, as long as a neighbouring epoch may need them.
    """

    def __init__(
        self,
        client: BeaconClient,
        spec: ChainSpec,
        ladder: Ladder,
        states: StateReader,
        head_epoch: int,
        committees: dict[int, Committees] | None = None,
    ) -> None:
        self._client = client
        self._spec = spec
        self._ladder = ladder
        self._states = states
        self._head_epoch = head_epoch
        self._committees: dict[int, Committees] = {} if committees is None else committees
        self._sync_committees: dict[int, tuple[Int64Array, FactSource]] = {}

    def forget(self) -> None:
        """Drop everything: the chain has changed."""
        self._committees.clear()
        self._sync_committees.clear()

    async def committees(
        self,
        epoch: int,
        window: Window,
        judge: Callable[[Committees], Awaitable[Judged]],
    ) -> tuple[Committees, Judged] | None:
        """Return the committees of ``epoch`` and what ``judge`` makes of them; None if no source
        gives them.

        ``judge`` raises for committees that contradict the blocks or the registry. ``window`` is
        a part of the chain that a state is held against.

        Raises:
            ChainRuleViolationError: no source fits the blocks.
        """
        spec, client = self._spec, self._client

        async def of_state(state: int | str) -> tuple[Committees, Judged]:
            found = self._committees.get(epoch) or await client.committees(state, epoch)
            return found, await judge(found)

        async def shuffled() -> tuple[Committees, Judged]:
            found = await self._states.committees(epoch, self._head_epoch, window)
            return found, await judge(found)

        sources = sources_of(
            Fact.COMMITTEES,
            {
                SourceName.HEAD_COMMITTEES: lambda: of_state("head"),
                SourceName.COMMITTEES: lambda: of_state(spec.first_slot(epoch)),
                SourceName.SHUFFLING: shuffled,
            },
        )
        found = await self._ladder.climb(Fact.COMMITTEES, sources, may_contradict=False)
        for kept in [one for one in self._committees if not epoch - 2 < one < epoch + 2]:
            del self._committees[kept]
        if found is not None:
            self._committees[epoch] = found[0]
        return found

    async def sync_committee(
        self, epoch: int, window: Window, is_right: Callable[[Int64Array], None]
    ) -> Int64Array | None:
        """Return the validator of each seat in ``epoch``; None if no source gives it.

        ``is_right`` raises for seats that cannot be right.
        """
        spec, client = self._spec, self._client
        period = epoch // spec.epochs_per_sync_committee_period
        # Where answers are archived, each epoch is to have all of its own.
        if period in self._sync_committees and client.archive is None:
            seats, source = self._sync_committees[period]
            self._ladder.taken[Fact.SYNC_COMMITTEE] = source
            return seats

        async def of_state(state: int | str) -> Int64Array:
            # The epoch is named, so that a head of another period refuses.
            found = await client.sync_committee(state, epoch)
            is_right(found)
            return found

        async def of_whole_state() -> Int64Array:
            found = await self._states.sync_committee(epoch, window)
            is_right(found)
            return found

        found = await self._ladder.climb(
            Fact.SYNC_COMMITTEE,
            sources_of(
                Fact.SYNC_COMMITTEE,
                {
                    SourceName.HEAD_SYNC_COMMITTEE: lambda: of_state("head"),
                    SourceName.SYNC_COMMITTEE: lambda: of_state(spec.first_slot(epoch)),
                    SourceName.STATE: of_whole_state,
                },
            ),
            may_contradict=False,
        )
        if found is not None:
            newest = dict(list(self._sync_committees.items())[-1:])
            taken = self._ladder.taken[Fact.SYNC_COMMITTEE]
            self._sync_committees = newest | {period: (found, taken)}
        return found

    async def next_sync_committee(
        self, epoch: int, window: Window, is_right: Callable[[Int64Array], None]
    ) -> Int64Array | None:
        """Return the seats in the first ``epoch`` of a period, beside those of the epoch in hand.

        Only the block at the border needs them; why they are missing is not entered.
        """
        taken = self._ladder.taken.get(Fact.SYNC_COMMITTEE)
        try:
            return await self.sync_committee(epoch, window, is_right)
        except ChainRuleViolationError as error:
            logger.info("no sync committee of epoch %d: %s", epoch, error)
            return None
        finally:
            if taken is not None:
                self._ladder.taken[Fact.SYNC_COMMITTEE] = taken

    async def proposers(
        self, epoch: int, window: Window, is_right: Callable[[ProposerDuties], None]
    ) -> ProposerDuties | None:
        """Return the proposer of each slot of ``epoch``; None if that of an empty slot is unknown.

        Where every slot has a block, the blocks say it all.
        """
        spec = self._spec
        from_blocks = _proposers_of_blocks(spec, epoch, window)
        if from_blocks is not None:
            self._ladder.know(Fact.PROPOSERS, SourceName.PROPOSERS_IN_BLOCKS.value)
            return from_blocks

        async def asked() -> ProposerDuties:
            found = await self._client.proposer_duties(epoch)
            _require_as_in_blocks(found, window)
            is_right(found)
            return found

        async def of_state() -> ProposerDuties:
            found = await self._states.proposers(epoch, window)
            _require_as_in_blocks(found, window)
            is_right(found)
            return found

        return await self._ladder.climb(
            Fact.PROPOSERS,
            sources_of(
                Fact.PROPOSERS,
                {SourceName.PROPOSER_DUTIES: asked, SourceName.STATE: of_state},
            ),
        )


def _proposers_of_blocks(spec: ChainSpec, epoch: int, window: Window) -> ProposerDuties | None:
    """The proposers of an epoch in which every slot has a block, else None."""
    slots = range(max(spec.first_slot(epoch), 1), spec.last_slot(epoch) + 1)
    if any(slot not in window.blocks for slot in slots):
        return None
    return ProposerDuties(
        np.array(slots, dtype=np.int64),
        np.array([window.blocks[slot].proposer_index for slot in slots], dtype=np.int64),
    )


def _require_as_in_blocks(duties: ProposerDuties, window: Window) -> None:
    """Refuse duties that are not those of the chain: each block names its proposer."""
    for slot, index in zip(duties.slot.tolist(), duties.validator_index.tolist(), strict=True):
        block = window.blocks.get(slot)
        if block is not None and slot > 0 and block.proposer_index != index:
            raise ChainRuleViolationError(
                f"validator {index} is given as the proposer of slot {slot}, but its block is by "
                f"validator {block.proposer_index}"
            )
