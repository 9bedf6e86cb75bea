"""The chain as the replay node sees it now: head, finality, and what an identifier means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from valmon_pipeline.devnet.answer import RefusalError
from valmon_pipeline.devnet.clock import Clock
from valmon_pipeline.devnet.recording import RecordedBlock, Recording

_ROOT: Final = re.compile(r"0x[0-9a-f]{64}")
_ZERO_ROOT: Final = "0x" + "00" * 32
_CHECKPOINTS: Final = ("previous_justified", "current_justified", "finalized")


class _CheckpointsAnswer(msgspec.Struct):
    data: dict[str, dict[str, str]]


_checkpoints_decoder: Final = msgspec.json.Decoder(_CheckpointsAnswer)


@dataclass(frozen=True, slots=True)
class BlockReference:
    """What a block id means: a slot, and the root if it was given or is known."""

    slot: int
    root: str | None
    is_orphan: bool = False

    @property
    def phases(self) -> frozenset[str] | None:
        """The phases whose answers count: a lost fork was there only until finality."""
        return frozenset({"orphan_live"}) if self.is_orphan else None


class ChainView:
    """Head, finality and identifiers of a recording at the clock's slot.

    ``has_finality`` says that finality is the one recorded for the head, as while the chain is
    live. Otherwise everything recorded is final on a stopped clock.
    """

    def __init__(self, recording: Recording, clock: Clock, *, has_finality: bool = False) -> None:
        self.recording = recording
        self.clock = clock
        self.has_finality = has_finality or clock.is_live

    @property
    def head_slot(self) -> int:
        """The slot that the chain has reached, with or without a block."""
        return self.clock.slot()

    @property
    def head_state_slot(self) -> int:
        """The slot of the state ``head``: that of the newest block."""
        block = self.head_block()
        return block.slot if block else 0

    @property
    def head_epoch(self) -> int:
        """The epoch of :attr:`head_slot`."""
        return self.head_slot // self.recording.slots_per_epoch

    def checkpoints(self) -> Mapping[str, Mapping[str, str]]:
        """Return the head's finality checkpoints: ``{name: {epoch, root}}``.

        Live, or as a client shows it: as recorded for the state at the head. Stopped: everything
        recorded is final, because it was recorded after finality, up to the last epoch boundary.
        """
        if self.has_finality:
            return self._recorded_checkpoints(self.head_state_slot)
        epoch = self.head_slot // self.recording.slots_per_epoch
        block = self.recording.block_at_or_before(epoch * self.recording.slots_per_epoch)
        root = block.root if block else _ZERO_ROOT
        return {name: {"epoch": str(epoch), "root": root} for name in _CHECKPOINTS}

    @property
    def finalized_slot(self) -> int:
        """The first slot of the finalized epoch."""
        return self._checkpoint_slot("finalized")

    def is_finalized(self, slot: int) -> bool:
        """Whether a block or state at ``slot`` can no longer be reorged away."""
        return not self.has_finality or slot <= self.finalized_slot

    def finalized_slot_at(self, head_slot: int) -> int:
        """The first slot of the epoch that was finalized when the head was at ``head_slot``."""
        epoch = int(self._recorded_checkpoints(head_slot)["finalized"]["epoch"])
        return epoch * self.recording.slots_per_epoch

    def state_slot(self, state_id: str) -> int:
        """Return the slot that a state id means.

        Raises :class:`RefusalError`: 404 for a state that is not there (yet), 400 for nonsense.
        """
        slot: int | None
        if state_id == "head":
            slot = self.head_state_slot
        elif state_id == "genesis":
            slot = 0
        elif state_id in ("finalized", "justified"):
            name = "finalized" if state_id == "finalized" else "current_justified"
            slot = self._checkpoint_slot(name)
        elif state_id.isascii() and state_id.isdigit():
            slot = int(state_id)
        elif state_id.startswith("0x"):
            slot = self.recording.slots_by_state_root.get(state_id.lower())
        else:
            raise RefusalError(400, f"Invalid block id '{state_id}'")
        if slot is None or slot > self.head_slot:
            raise RefusalError(404, f"No state found for id '{state_id}'")
        return slot

    def block(self, block_id: str) -> BlockReference:
        """Return what a block id means; a slot is returned whether or not it has a block.

        Raises :class:`RefusalError`: 404 for blocks ahead of the head and unknown roots, 400 for
        nonsense.
        """
        not_found = RefusalError(404, f"No block found for id '{block_id}'")
        if block_id == "head":
            return self._reference(self.head_block(), not_found)
        if block_id in ("finalized", "justified"):
            name = "finalized" if block_id == "finalized" else "current_justified"
            block = self.recording.block_at_or_before(self._checkpoint_slot(name))
            return self._reference(block, not_found)
        if block_id == "genesis":
            return BlockReference(0, None)
        if block_id.isascii() and block_id.isdigit():
            slot = int(block_id)
            if slot > self.head_slot:
                raise not_found
            fork = self._fork_block(slot)
            if fork is not None:
                return BlockReference(slot, fork.root, is_orphan=True)
            known = self.recording.blocks.get(slot)
            return BlockReference(slot, known.root if known else None)
        if not _ROOT.fullmatch(block_id.lower()):
            raise RefusalError(400, f"Invalid block id '{block_id}'")
        return self._by_root(block_id.lower(), not_found)

    def head_block(self) -> RecordedBlock | None:
        """Return the block that the node follows as its head."""
        slot = self.head_slot
        return self._fork_block(slot) or self.recording.block_at_or_before(slot)

    def _by_root(self, root: str, not_found: RefusalError) -> BlockReference:
        block = self.recording.blocks_by_root.get(root)
        if block is not None and block.slot <= self.head_slot:
            return BlockReference(block.slot, root)
        orphan = self.recording.orphans.get(root)
        if orphan is not None and orphan.slot <= self.head_slot and self._is_remembered(orphan):
            return BlockReference(orphan.slot, root, is_orphan=True)
        raise not_found

    def _is_remembered(self, orphan: RecordedBlock) -> bool:
        """Nodes drop the blocks of lost forks at finality."""
        return self.has_finality and orphan.slot > self.finalized_slot

    def _fork_block(self, slot: int) -> RecordedBlock | None:
        """Return the block that was the head in its own slot and was reorged away by the next."""
        if not self.clock.is_live or slot != self.head_slot:
            return None
        forks = self.recording.orphans.values()
        return next((block for block in forks if block.slot == slot), None)

    def _reference(self, block: RecordedBlock | None, not_found: RefusalError) -> BlockReference:
        if block is None:
            raise not_found
        return BlockReference(
            block.slot, block.root, is_orphan=block.root in self.recording.orphans
        )

    def _checkpoint_slot(self, name: str) -> int:
        return int(self.checkpoints()[name]["epoch"]) * self.recording.slots_per_epoch

    def _recorded_checkpoints(self, slot: int) -> Mapping[str, Mapping[str, str]]:
        """Return the checkpoints of the newest state at or before ``slot`` that was recorded."""
        for candidate in range(slot, self.recording.slots.start - 1, -1):
            path = f"/eth/v1/beacon/states/{candidate}/finality_checkpoints"
            exchange = self.recording.best("GET", path)
            if exchange is not None and exchange.status == 200:
                return _checkpoints_decoder.decode(exchange.content).data
        return {name: {"epoch": "0", "root": _ZERO_ROOT} for name in _CHECKPOINTS}
