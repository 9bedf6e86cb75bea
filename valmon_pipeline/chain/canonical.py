"""The canonical chain over a window of slots: which slots have a block, and the root at each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from valmon_pipeline.chain.blocks import BlockHeader
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.errors import ChainRuleViolationError


@dataclass(frozen=True, slots=True)
class CanonicalChain:
    """Canonical blocks with ``first_slot`` ≤ slot ≤ ``last_slot``, ascending, b rows.

    ``slot`` (b) and ``root``, one root per row; ``parent_root`` is the parent of the first block,
    which lies before the window, or None if the window has no block at all.
    """

    first_slot: int
    last_slot: int
    slot: Int64Array
    root: tuple[bytes, ...]
    parent_root: bytes | None

    @classmethod
    def from_headers(
        cls, headers: Sequence[BlockHeader], *, first_slot: int, last_slot: int
    ) -> CanonicalChain:
        """Link the headers of a window of slots, given in ascending order; skipped slots have none.

        Raises:
            ChainRuleViolationError: a slot outside the window or out of order, or a header whose
                parent is not the header before it: answers from two chains, or one is missing.
        """
        for header in headers:
            if not first_slot <= header.slot <= last_slot:
                raise ChainRuleViolationError(
                    f"block header of slot {header.slot} lies outside the window "
                    f"{first_slot}…{last_slot}"
                )
        for before, header in pairwise(headers):
            if header.slot <= before.slot:
                raise ChainRuleViolationError(
                    f"block headers must ascend, but slot {header.slot} follows slot {before.slot}"
                )
            if header.parent_root != before.root:
                raise ChainRuleViolationError(
                    f"the block of slot {header.slot} (0x{header.root.hex()}) has parent "
                    f"0x{header.parent_root.hex()}, but the block before it is slot {before.slot} "
                    f"(0x{before.root.hex()}): the headers are not one chain; ask the node again"
                )
        return cls(
            first_slot=first_slot,
            last_slot=last_slot,
            slot=np.array([header.slot for header in headers], dtype=np.int64),
            root=tuple(header.root for header in headers),
            parent_root=headers[0].parent_root if headers else None,
        )

    def root_at(self, slot: int) -> bytes:
        """The canonical root at ``slot`` of the window: of its block or of the last one before.

        Raises:
            ChainRuleViolationError: the slot is outside the window, or the window has no block.
        """
        self._require_in_window(slot)
        row = int(np.searchsorted(self.slot, slot, side="right")) - 1
        if row >= 0:
            return self.root[row]
        if self.parent_root is None:
            raise ChainRuleViolationError(
                f"no block in slots {self.first_slot}…{self.last_slot}: the canonical root at slot "
                f"{slot} is not known from them"
            )
        return self.parent_root

    def next_block_slot(self, slot: Int64Array) -> Int64Array:
        """For each slot the next one with a block, -1 if there is none up to ``last_slot``."""
        if len(slot) and int(slot.min()) < self.first_slot - 1:
            self._require_in_window(int(slot.min()))
        with_sentinel = np.append(self.slot, np.int64(-1))
        return with_sentinel[np.searchsorted(self.slot, slot, side="right")]

    def _require_in_window(self, slot: int) -> None:
        if not self.first_slot <= slot <= self.last_slot:
            raise ChainRuleViolationError(
                f"slot {slot} lies outside the window {self.first_slot}…{self.last_slot} of this "
                "part of the chain"
            )
