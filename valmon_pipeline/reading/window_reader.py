"""Reads the blocks of an inclusion window, and proves that they are one chain, whole and current.

A node answers 404 for a slot without a block and for a block that it lost or never had, in the same
words. So a gap is believed only if the chain proves it. The proof starts at the *child*, the first
block after the window: its parent root fixes the last block of the window, that one's parent root
the block before, and so on. Where slots lie between a block and the one found before it, the header
of the parent root says which slot the parent has.

Blocks that were captured live are known by root and need no request; the others are asked for by
slot. While the child's parent is the same when everything else has been read, nothing in between
can have changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.chain.blocks import Block, BlockHeader
from valmon_pipeline.chain.canonical import CanonicalChain
from valmon_pipeline.errors import (
    ChainChangedError,
    ChainRuleViolationError,
    EpochNotFinalError,
    MalformedAnswerError,
)
from valmon_pipeline.reading.side_by_side import all_of


@dataclass(frozen=True, slots=True)
class Window:
    """The canonical blocks of a window of slots, by slot, and the root they end in.

    ``parent_root`` is the root of the last block before the window.
    """

    canonical: CanonicalChain
    blocks: dict[int, Block]
    root: bytes
    parent_root: bytes

    @property
    def roots(self) -> set[bytes]:
        """The roots that the chain is known to contain: those of the window and its parent."""
        return {*self.canonical.root, self.parent_root}


class WindowReader:
    """Reads windows from one node; windows that overlap share their blocks."""

    def __init__(self, client: BeaconClient) -> None:
        self._client = client
        self._by_root: dict[bytes, Block] = {}
        self._by_slot: dict[int, Block | None] = {}
        self._headers: dict[bytes, BlockHeader | None] = {}
        self.head_slot = -1

    async def require_closed(self, epoch: int, last: int) -> None:
        """Refuse an epoch whose window, up to slot ``last``, can still get blocks.

        Raises:
            EpochNotFinalError: the node has no block after the window yet.
            NodeNotReadyError: it has no head block at all yet.
        """
        if self.head_slot <= last:
            self.head_slot = (await self._client.head()).slot
        if self.head_slot <= last:
            raise EpochNotFinalError(
                f"the attestation window of epoch {epoch} is not closed yet: that takes a block "
                f"after slot {last}, and the head of {self._client.name} is at slot "
                f"{self.head_slot}"
            )

    def has(self, first: int, end: int) -> bool:
        """Whether the slots from ``first`` up to ``end`` were read already, or are captured."""
        by_root = {block.slot for block in self._by_root.values()}
        return all(slot in self._by_slot or slot in by_root for slot in range(first, end)) or (
            bool(by_root) and min(by_root) <= first
        )

    async def know(self, roots: Iterable[bytes]) -> None:
        """Take blocks whose answers were captured: asking for them by root costs no request."""
        wanted = [root for root in roots if root not in self._by_root]
        for root, block in zip(
            wanted, await all_of(*(self._client.block(root) for root in wanted)), strict=True
        ):
            self._by_root[root] = block

    async def read(self, first: int, last: int) -> Window:
        """Read the blocks of the slots ``first`` to ``last``.

        Raises:
            ChainChangedError: the answers are not one chain; they may be when asked again.
            ChainRuleViolationError: a slot without a block is not proved to be empty.
            BeaconApiError: the node cannot give an answer, or gives a malformed one.
        """
        child = await self._child(last)
        earliest = self._linked(child, first)
        await self._ask_by_slot(range(first, min(earliest, last + 1)))
        found: list[BlockHeader] = []
        blocks: dict[int, Block] = {}
        end = await self._end(child, first, last)
        root = child.parent_root if end is None else end.root
        block, parent = child, None if end is None else self._by_slot[last]
        if parent is None:
            parent = await self._parent(block, first)
        while parent is not None:
            named = root if block is child else block.parent_root
            blocks[parent.slot] = parent
            found.append(BlockHeader(parent.slot, named, parent.parent_root, parent.proposer_index))
            block, parent = parent, await self._parent(parent, first)
        found.reverse()
        await self._require_voted_for(found, [*blocks.values(), child])
        try:
            canonical = CanonicalChain.from_headers(found, first_slot=first, last_slot=last)
        except ChainRuleViolationError as error:
            raise ChainChangedError(str(error)) from None
        if not found:
            canonical = replace(canonical, parent_root=child.parent_root)
        return Window(
            canonical,
            {header.slot: blocks[header.slot] for header in found},
            root,
            block.parent_root,
        )

    async def confirm(self, window: Window) -> None:
        """Ask again which block follows the window.

        Raises:
            ChainChangedError: it follows another one; what was read in between may be of either.
        """
        last = window.canonical.last_slot
        for slot in range(last + 1, self.head_slot + 1):
            header = await self._client.header(slot)
            if header is not None:
                if header.parent_root != window.root:
                    raise ChainChangedError(
                        f"the block of slot {slot} (0x{header.root.hex()}) has parent "
                        f"0x{header.parent_root.hex()}, but the last block up to slot {last} was "
                        f"read as 0x{window.root.hex()}: the chain changed while it was read"
                    )
                return
        raise ChainChangedError(self._no_child(last))

    def forget_before(self, slot: int) -> None:
        """Drop what only windows before ``slot`` need."""
        self._by_slot = {key: block for key, block in self._by_slot.items() if key >= slot}
        self._by_root = {root: block for root, block in self._by_root.items() if block.slot >= slot}
        self._headers = {
            root: header
            for root, header in self._headers.items()
            if header is not None and header.slot >= slot
        }

    def forget(self) -> None:
        """Drop everything: the chain has changed."""
        self._by_slot.clear()
        self._by_root.clear()
        self._headers.clear()
        self.head_slot = -1

    async def _child(self, last: int) -> Block:
        """The first canonical block after ``last``."""
        for slot in range(last + 1, self.head_slot + 1):
            await self._ask_by_slot([slot])
            block = self._by_slot[slot]
            if block is not None:
                return block
        raise ChainChangedError(self._no_child(last))

    def _no_child(self, last: int) -> str:
        return (
            f"the head was at slot {self.head_slot}, but slots {last + 1} to {self.head_slot} have "
            "no block any more"
        )

    def _linked(self, block: Block, first: int) -> int:
        """The slot down to which the blocks before ``block`` are known by root."""
        while (parent := self._by_root.get(block.parent_root)) is not None and parent.slot >= first:
            block = parent
        before = self._by_root.get(block.parent_root)
        # A parent before the window proves the rest of it to be empty.
        return first if before is not None and before.slot < first else block.slot

    async def _ask_by_slot(self, slots: Iterable[int]) -> None:
        wanted = [slot for slot in slots if slot not in self._by_slot]
        blocks = await all_of(*(self._client.block_at(slot) for slot in wanted))
        self._by_slot |= dict(zip(wanted, blocks, strict=True))

    async def _require_voted_for(
        self, found: Sequence[BlockHeader], blocks: Iterable[Block]
    ) -> None:
        """Hold the roots that follow from the parents of neighbours against the votes for them.

        Where most votes of a slot are for another head (a late block, or a wrong answer), the
        header of that slot decides.
        """
        votes: dict[int, Counter[bytes]] = {}
        for block in blocks:
            for one in block.attestations:
                bits = int.from_bytes(one.aggregation_bits, "little").bit_count()
                votes.setdefault(one.slot, Counter())[one.beacon_block_root] += bits
        doubtful = [
            header
            for header in found
            if header.root not in self._by_root
            and self._headers.get(header.root) is None
            and header.slot in votes
            and votes[header.slot].most_common(1)[0][0] != header.root
        ]
        asked = await all_of(*(self._client.header(header.slot) for header in doubtful))
        for inferred, header in zip(doubtful, asked, strict=True):
            if header is not None and header.root != inferred.root:
                raise MalformedAnswerError(
                    f"the block after slot {inferred.slot} of {self._client.name} names "
                    f"0x{inferred.root.hex()} as its parent, but the header of slot "
                    f"{inferred.slot} has root 0x{header.root.hex()}: the answers are not one "
                    "chain; ask another node"
                )
            self._headers[inferred.root] = header

    async def _end(self, child: Block, first: int, last: int) -> BlockHeader | None:
        """The header of the window's last slot, where the child does not prove the window since a
        block between them is lost; None where it does, or the slot is empty."""
        if child.slot == last + 1 or child.parent_root in self._by_root:
            return None
        if self._by_slot.get(last) is None or await self._header(child.parent_root) is not None:
            return None
        return await self._client.header(last)

    async def _parent(self, block: Block, first: int) -> Block | None:
        """The parent of ``block`` in the window; None if it lies before the window."""
        root = block.parent_root
        known = self._by_root.get(root)
        if known is not None:
            return known if known.slot >= first else None
        if block.slot <= first:
            return None  # whatever its parent is, it lies before the window
        before = next(
            (
                found
                for slot in range(block.slot - 1, first - 1, -1)
                if (found := self._by_slot.get(slot)) is not None
            ),
            None,
        )
        if before is not None and before.slot == block.slot - 1:
            return before
        # Slots lie in between: only the parent's own header says whether they are empty.
        header = await self._header(root)
        if header is None:
            raise ChainRuleViolationError(_unproved(block, before, first, self._client.name))
        if header.slot >= block.slot:
            raise MalformedAnswerError(
                f"GET /eth/v1/beacon/headers/0x{root.hex()} of {self._client.name}: slot "
                f"{header.slot}, but it is the parent of the block of slot {block.slot}; ask "
                "another node"
            )
        if header.slot < first:
            if before is not None:
                raise ChainChangedError(_left(block, before))
            return None
        if before is not None and header.slot == before.slot:
            return before
        if before is not None and header.slot < before.slot:
            raise ChainChangedError(_left(block, before))
        # By slot the node did not know it (yet): some fill their index after finality.
        return await self._by_its_root(root, header)

    async def _header(self, root: bytes) -> BlockHeader | None:
        if self._headers.get(root) is None:
            self._headers[root] = await self._client.header(root)
        return self._headers[root]

    async def _by_its_root(self, root: bytes, header: BlockHeader) -> Block:
        block = await self._client.full_or_blinded_block(root)
        of_header = (header.slot, header.parent_root, header.proposer_index)
        if (block.slot, block.parent_root, block.proposer_index) != of_header:
            raise MalformedAnswerError(
                f"GET /eth/v2/beacon/blocks/0x{root.hex()} of {self._client.name}: the "
                f"block of slot {block.slot} by proposer {block.proposer_index} (parent "
                f"0x{block.parent_root.hex()}), but the header with this root is of slot "
                f"{header.slot} by proposer {header.proposer_index} (parent "
                f"0x{header.parent_root.hex()}); ask another node"
            )
        self._by_root[root] = block
        return block


def _unproved(block: Block, before: Block | None, first: int, node: str) -> str:
    start = first if before is None else before.slot + 1
    gap = f"slot {start} is" if start == block.slot - 1 else f"slots {start}…{block.slot - 1} are"
    last = (
        "no block of the window before it is known"
        if before is None
        else f"the block of slot {before.slot} is the last one known before it"
    )
    return (
        f"{node} has no block where {gap}, but does not know the parent of the block of slot "
        f"{block.slot} either (0x{block.parent_root.hex()}); {last}. That does not prove that "
        "nothing was proposed: the node may have lost a block. Ask another node"
    )


def _left(block: Block, before: Block) -> str:
    return (
        f"the block of slot {block.slot} has parent 0x{block.parent_root.hex()}, which lies before "
        f"the block of slot {before.slot}: the chain changed while it was read"
    )
