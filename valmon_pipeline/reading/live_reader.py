"""Reads what has happened since the last look at the head: which block each slot has, and how the
watched validators stand.

The head says what time it is, not the clock: slots count as soon as a block after them is there, so
that a clock that runs a few seconds wrong changes nothing but the judgement whether a block was
late.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.chain.blocks import BlockHeader
from valmon_pipeline.chain.canonical import CanonicalChain
from valmon_pipeline.chain.finality import FinalityCheckpoints
from valmon_pipeline.chain.registry import ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import (
    ChainChangedError,
    ChainRuleViolationError,
    ObjectUnavailableError,
)
from valmon_pipeline.reading.side_by_side import all_of, side_by_side

MAX_SLOTS_PER_LOOK: Final = 64
"""Slots of one look at most, and how far back a reorganisation is followed. After a longer pause
the slots in between are left to the materialization of their epochs."""
MAX_RETAKEN_SNAPSHOTS: Final = 8
READ_SECONDS: Final = 3.0
"""After that no more slots are asked for: a look that takes too long stores nothing, and the next
one would have even more to do. Slots further back are left out as after a longer pause."""
_FIRST_BATCH: Final = 4


@dataclass(frozen=True, slots=True)
class Head:
    """The head as it was last seen, ``asked_at_ms`` (Unix time, before the answer)."""

    slot: int
    root: bytes
    asked_at_ms: int


@dataclass(frozen=True, slots=True)
class LiveAnswers:
    """One node's answers at one look.

    ``headers`` has the canonical block, or None, of each slot that was looked at, ascending, the
    head's last; it is empty if the head is the same as before. They are one chain. ``reorganized``:
    the chain left the head that was seen before. ``snapshots`` are registries by slot of the state.
    ``proposers`` are the validators that had to propose, by slot, for the slots without a block.
    """

    head: BlockHeader
    asked_at_ms: int
    answered_at_ms: int
    checkpoints: FinalityCheckpoints
    headers: Mapping[int, BlockHeader | None] = field(default_factory=dict)
    reorganized: bool = False
    snapshots: Mapping[int, ValidatorRegistry] = field(default_factory=dict)
    proposers: Mapping[int, int] = field(default_factory=dict)


class LiveReader:
    """Looks at the head of one node."""

    def __init__(self, client: BeaconClient, spec: ChainSpec, now_ms: Callable[[], int]) -> None:
        self._client = client
        self._spec = spec
        self._now_ms = now_ms

    async def look(
        self,
        last: Head | None,
        ids: Sequence[int | str],
        snapshot_slots: Callable[[int, int | None], Sequence[int]],
    ) -> LiveAnswers:
        """Read everything since ``last`` (None: there was no look before).

        ``ids`` are the validators to take snapshots of. ``snapshot_slots`` is told the head's slot
        and the first slot that a reorganisation may have changed (None without one), and says at
        which slots to take them.

        Raises:
            ChainChangedError: the chain was reorganized between two answers; look again.
            BeaconApiError: the node cannot give an answer, or gives a malformed one.
        """
        asked_at_ms = self._now_ms()
        head = await self._client.header("head")
        answered_at_ms = self._now_ms()
        if head is None:
            raise ObjectUnavailableError(f"{self._client.name} has no head block yet")
        if last is not None and head.root == last.root:
            checkpoints = await self._client.finality_checkpoints("head")
            return LiveAnswers(head, asked_at_ms, answered_at_ms, checkpoints)
        headers, reorganized = await self._headers_since(last, head)
        wanted = snapshot_slots(head.slot, next(iter(headers)) if reorganized else None)
        slots = list(wanted)[-MAX_RETAKEN_SNAPSHOTS:] if ids else []
        missed = [slot for slot, header in headers.items() if header is None]
        async with side_by_side() as tasks:
            checkpoints_task = tasks.create_task(self._client.finality_checkpoints("head"))
            proposers_task = tasks.create_task(self._proposers(missed))
            snapshot_tasks = {
                slot: tasks.create_task(self._client.validators(slot, ids)) for slot in slots
            }
        await self._confirm(head)
        return LiveAnswers(
            head=head,
            asked_at_ms=asked_at_ms,
            answered_at_ms=answered_at_ms,
            checkpoints=checkpoints_task.result(),
            headers=headers,
            reorganized=reorganized,
            snapshots={slot: task.result() for slot, task in snapshot_tasks.items()},
            proposers=proposers_task.result(),
        )

    async def _headers_since(
        self, last: Head | None, head: BlockHeader
    ) -> tuple[dict[int, BlockHeader | None], bool]:
        until = time.monotonic() + READ_SECONDS
        earliest = max(0, head.slot - MAX_SLOTS_PER_LOOK + 1)
        if last is None:
            return {head.slot: head}, False
        if earliest <= last.slot < head.slot:
            headers = await self._chain(last.slot + 1, head, until)
            first = next(header for header in headers.values() if header is not None)
            if first.parent_root == last.root or last.slot + 1 not in headers:
                return headers, False
        elif last.slot < earliest:
            return await self._chain(earliest, head, until), False
        start = max(0, min(last.slot, head.slot) - MAX_SLOTS_PER_LOOK + 1)
        return await self._chain(start, head, until), True

    async def _chain(
        self, first: int, head: BlockHeader, until: float
    ) -> dict[int, BlockHeader | None]:
        """The blocks of the slots from ``first`` to the head's, proved to be the head's chain.

        The newest come first, in batches that grow; those that have not been asked for at
        ``until`` are left out.
        """
        headers: dict[int, BlockHeader | None] = {head.slot: head}
        earliest, batch = head.slot, _FIRST_BATCH
        while earliest > first and (time.monotonic() < until or len(headers) == 1):
            slots = range(max(first, earliest - batch), earliest)
            read = await all_of(*(self._client.header(slot) for slot in slots))
            headers = {**dict(zip(slots, read, strict=True)), **headers}
            earliest, batch = slots.start, 2 * batch
        present = [header for header in headers.values() if header is not None]
        try:
            CanonicalChain.from_headers(present, first_slot=earliest, last_slot=head.slot)
        except ChainRuleViolationError as error:
            raise ChainChangedError(str(error)) from None
        return headers

    async def _proposers(self, slots: Sequence[int]) -> dict[int, int]:
        """Who had to propose in ``slots``; nothing about epochs the node does not know any more."""
        proposers: dict[int, int] = {}
        for epoch in sorted({self._spec.epoch_of(slot) for slot in slots}):
            try:
                duties = await self._client.proposer_duties(epoch)
            except ObjectUnavailableError:
                continue
            of_slot = dict(zip(duties.slot.tolist(), duties.validator_index.tolist(), strict=True))
            proposers |= {slot: of_slot[slot] for slot in slots if slot in of_slot}
        return proposers

    async def _confirm(self, head: BlockHeader) -> None:
        again = await self._client.header(head.slot)
        if again is None or again.root != head.root:
            raise ChainChangedError(
                f"the head of slot {head.slot} was 0x{head.root.hex()} and is no longer on the "
                f"chain of {self._client.name}: it was reorganized while it was read"
            )
