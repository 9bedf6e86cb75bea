"""Reads the blocks of an inclusion window, and proves that they are one chain, whole and current.

By slot a node answers with whatever is canonical at that moment, so that a reorg between two
answers, or a node that does not tell of a block, would leave rows that rest on no chain at all.
The proof is the *child*: the first block after the window. Its parent root fixes the last block of
the window, that one's parent root the block before, and so on; and while the child's parent is the
same when everything else has been read, nothing in between can have changed.
"""

from __future__ import annotations

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
    """The canonical blocks of a window of slots, by slot, and the root they end in."""

    canonical: CanonicalChain
    blocks: dict[int, Block]
    root: bytes


class WindowReader:
    """Reads windows from one node; windows that overlap share headers and blocks."""

    def __init__(self, client: BeaconClient) -> None:
        self._client = client
        self._headers: dict[int, BlockHeader | None] = {}
        self._blocks: dict[bytes, Block] = {}
        self._head_slot = -1

    async def require_closed(self, epoch: int, last: int) -> None:
        """Refuse an epoch whose window, up to slot ``last``, can still get blocks.

        Raises:
            EpochNotFinalError: the node has no block after the window yet.
            NodeNotReadyError: it has no head block at all yet.
        """
        if self._head_slot <= last:
            self._head_slot = (await self._client.head()).slot
        if self._head_slot <= last:
            raise EpochNotFinalError(
                f"the attestation window of epoch {epoch} is not closed yet: that takes a block "
                f"after slot {last}, and the head of {self._client.name} is at slot "
                f"{self._head_slot}"
            )

    async def read(self, first: int, last: int) -> Window:
        """Read the blocks of the slots ``first`` to ``last``, headers by slot, blocks by root.

        Raises:
            ChainChangedError: the answers are not one chain; they may be when asked again.
            BeaconApiError: the node cannot give an answer, or gives a malformed one.
        """
        *headers, child = await all_of(
            *(self._header(slot) for slot in range(first, last + 1)), self._child(last)
        )
        present = [header for header in headers if header is not None]
        assert child is not None
        try:
            canonical = CanonicalChain.from_headers(present, first_slot=first, last_slot=last)
        except ChainRuleViolationError as error:
            raise ChainChangedError(str(error)) from None
        if not present:
            canonical = replace(canonical, parent_root=child.parent_root)
        root = canonical.root_at(last)
        self._require_child(child, root, last)
        await self._require_start(present, first)
        wanted = [header for header in present if header.root not in self._blocks]
        blocks = await all_of(*(self._client.block(header.root) for header in wanted))
        for header, block in zip(wanted, blocks, strict=True):
            self._require_block_of(header, block)
            self._blocks[header.root] = block
        return Window(
            canonical, {header.slot: self._blocks[header.root] for header in present}, root
        )

    async def confirm(self, window: Window) -> None:
        """Ask again which block follows the window.

        Raises:
            ChainChangedError: it follows another one; what was read in between may be of either.
        """
        last = window.canonical.last_slot
        for slot in [slot for slot in self._headers if slot > last]:
            del self._headers[slot]
        self._require_child(await self._child(last), window.root, last)

    def forget_before(self, slot: int) -> None:
        """Drop what only windows before ``slot`` need."""
        self._headers = {key: header for key, header in self._headers.items() if key >= slot}
        self._blocks = {root: block for root, block in self._blocks.items() if block.slot >= slot}

    def forget(self) -> None:
        """Drop everything: the chain has changed."""
        self._headers.clear()
        self._blocks.clear()

    async def _header(self, slot: int) -> BlockHeader | None:
        if slot not in self._headers:
            self._headers[slot] = await self._client.header(slot)
        return self._headers[slot]

    async def _child(self, last: int) -> BlockHeader:
        for slot in range(last + 1, self._head_slot + 1):
            header = await self._header(slot)
            if header is not None:
                return header
        raise ChainChangedError(
            f"the head was at slot {self._head_slot}, but slots {last + 1} to {self._head_slot} "
            "have no block any more"
        )

    def _require_child(self, child: BlockHeader, root: bytes, last: int) -> None:
        if child.parent_root != root:
            raise ChainChangedError(
                f"the block of slot {child.slot} (0x{child.root.hex()}) has parent "
                f"0x{child.parent_root.hex()}, but the last block up to slot {last} was read as "
                f"0x{root.hex()}: the chain changed while it was read"
            )

    async def _require_start(self, present: list[BlockHeader], first: int) -> None:
        """Without a block in its first slot, what came before must lie before the window."""
        if not present or present[0].slot == first:
            return
        parent = await self._client.header(present[0].parent_root)
        # A node that began at a checkpoint may not know it; then it has nothing else to say either.
        if parent is not None and parent.slot >= first:
            raise ChainChangedError(
                f"slot {parent.slot} was read as missed, but the block of slot {present[0].slot} "
                f"has the block of that slot as parent (0x{parent.root.hex()})"
            )

    def _require_block_of(self, header: BlockHeader, block: Block) -> None:
        of_header = (header.slot, header.parent_root, header.proposer_index)
        if (block.slot, block.parent_root, block.proposer_index) != of_header:
            raise MalformedAnswerError(
                f"GET /eth/v2/beacon/blocks/0x{header.root.hex()} of {self._client.name}: the "
                f"block of slot {block.slot} by proposer {block.proposer_index} (parent "
                f"0x{block.parent_root.hex()}), but the header with this root is of slot "
                f"{header.slot} by proposer {header.proposer_index} (parent "
                f"0x{header.parent_root.hex()}); ask another node"
            )
