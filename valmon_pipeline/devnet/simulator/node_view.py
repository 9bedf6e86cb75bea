"""The simulated chain as its node sees it now: head, finality, and what an identifier means."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any, Final

import msgspec

from valmon_pipeline.devnet.answer import Answer, RefusalError
from valmon_pipeline.devnet.clock import LiveClock
from valmon_pipeline.devnet.simulator import incidents as words
from valmon_pipeline.devnet.simulator.blocks import SimulatedBlock
from valmon_pipeline.devnet.simulator.history import SlotRecord
from valmon_pipeline.devnet.simulator.simulation import Simulation

_ROOT: Final = re.compile(r"0x[0-9a-f]{64}")
_CHECKPOINTS: Final = {"finalized": "finalized", "justified": "current_justified"}


class NodeView:
    """Head, finality and identifiers at the clock's slot; without a clock, at the chain's head.

    ``slot`` is that of the last :meth:`refresh`, so that one answer is about one moment.
    """

    def __init__(self, simulation: Simulation, clock: LiveClock | None, genesis_time: int) -> None:
        self.simulation = simulation
        self.clock = clock
        self.genesis_time = genesis_time
        self.slot = simulation.head_slot

    def refresh(self) -> None:
        """Look at the clock, and let the chain advance to its slot."""
        if self.clock is not None:
            self.simulation.advance_to(self.clock.slot())
        self.slot = self.simulation.head_slot

    @property
    def head_slot(self) -> int:
        """The slot up to which the node shows the chain: behind the clock while it is syncing."""
        return max(0, self.slot - self.sync_distance)

    @property
    def head_epoch(self) -> int:
        """The epoch of :attr:`head_slot`."""
        return self.simulation.parameters.epoch_of(self.head_slot)

    @property
    def sync_distance(self) -> int:
        """How many slots the node is behind; 0 if it is not syncing."""
        return max(
            (
                fault.distance
                for fault in self.simulation.script.faults(self.slot)
                if isinstance(fault, words.Syncing)
            ),
            default=0,
        )

    @property
    def is_optimistic(self) -> bool:
        """Whether the node has not verified what it says."""
        faults = self.simulation.script.faults(self.slot)
        return any(isinstance(fault, words.Optimistic) for fault in faults)

    @property
    def head(self) -> SlotRecord:
        """The newest state that the node has."""
        slot = self.head_slot
        return self.simulation.record(slot - 1 if self._has_late_block(slot) else slot)

    @property
    def finalized_slot(self) -> int:
        """The first slot of the finalized epoch."""
        return self.simulation.parameters.first_slot(self.head.finalized.epoch)

    def is_finalized(self, slot: int) -> bool:
        """Whether a block or state at ``slot`` can no longer be reorged away."""
        return slot <= self.finalized_slot

    def state(self, state_id: str) -> SlotRecord:
        """Return the state that a state id means.

        Raises :class:`RefusalError`: 404 for a state that is not there (yet, or any more), 400 for
        nonsense.
        """
        slot: int | None
        if state_id == "head":
            return self.simulation.record(self.head.head.slot)
        if state_id == "genesis":
            slot = 0
        elif state_id in _CHECKPOINTS:
            slot = self._checkpoint_slot(state_id)
        elif state_id.isascii() and state_id.isdigit():
            slot = int(state_id)
        elif state_id.startswith("0x"):
            slot = self.simulation.history.slots_by_state_root.get(state_id.lower())
        else:
            raise RefusalError(400, f"Invalid block id '{state_id}'")
        record = None if slot is None else self.record(slot)
        if record is None:
            raise RefusalError(404, f"No state found for id '{state_id}'")
        return record

    def record(self, slot: int) -> SlotRecord | None:
        """Return the state after a slot; None if the node has not got that far, or forgot it."""
        if slot > self.head.slot:
            return None
        return self.simulation.history.records.get(slot)

    def block(self, block_id: str) -> SimulatedBlock:
        """Return the block that a block id means.

        Raises :class:`RefusalError`: 404 for empty slots, slots ahead of the head and unknown
        roots, 400 for nonsense.
        """
        found: SimulatedBlock | None
        if block_id == "head":
            found = self.head.head
        elif block_id in _CHECKPOINTS:
            record = self.record(self._checkpoint_slot(block_id))
            found = None if record is None else record.head
        elif block_id == "genesis" or (block_id.isascii() and block_id.isdigit()):
            record = self.record(0 if block_id == "genesis" else int(block_id))
            found = None if record is None else record.block
        elif _ROOT.fullmatch(block_id.lower()):
            found = self._by_root(block_id.lower())
        else:
            raise RefusalError(400, f"Invalid block id '{block_id}'")
        if found is None:
            raise RefusalError(404, f"No block found for id '{block_id}'")
        return found

    def is_canonical(self, block: SimulatedBlock) -> bool:
        """Whether a block is part of the chain that the node follows."""
        return block.root in self.simulation.history.blocks

    def children(self, parent_root: str) -> list[SimulatedBlock]:
        """The canonical blocks that build on a block."""
        return [
            block
            for block in self.simulation.history.blocks.values()
            if block.parent_root == parent_root and block.slot <= self.head.slot
        ]

    def answer(
        self,
        data: object,
        slot: int,
        *,
        version: str | None = None,
        dependent_root: str | None = None,
        has_finality: bool = True,
    ) -> Answer:
        """Return an answer about ``slot`` in the API's envelope."""
        optimistic, final = self.is_optimistic, self.is_finalized(slot)
        body: dict[str, Any] = {"data": data, "execution_optimistic": optimistic}
        headers = {
            "content-type": "application/json; charset=utf-8",
            "eth-execution-optimistic": _text(optimistic),
        }
        if has_finality:
            body["finalized"] = final
            headers["eth-consensus-finalized"] = _text(final)
        if version is not None:
            body["version"] = headers["eth-consensus-version"] = version
        if dependent_root is not None:
            body["dependent_root"] = headers["eth-consensus-dependent-root"] = dependent_root
        return Answer(200, msgspec.json.encode(body), headers)

    def index(self, validator_id: str) -> int | None:
        """Return the index that an index or a public key in text means; None if it is no key."""
        if not validator_id.startswith("0x"):
            return int(validator_id) if validator_id.isascii() and validator_id.isdigit() else None
        try:
            key = bytes.fromhex(validator_id[2:])
        except ValueError:
            return None
        return self.simulation.index_of(key)

    def pubkeys(self, count: int) -> list[str]:
        """The public keys of the first ``count`` validators, at least, as text."""
        if len(self._pubkeys) < count:
            keys = self.simulation.record(self.simulation.head_slot).column("pubkey")
            known = len(self._pubkeys)
            text = keys[known:].tobytes().hex()
            self._pubkeys += ["0x" + text[at : at + 96] for at in range(0, len(text), 96)]
        return self._pubkeys

    @cached_property
    def _pubkeys(self) -> list[str]:
        return []

    def _by_root(self, root: str) -> SimulatedBlock | None:
        history = self.simulation.history
        block = history.blocks.get(root)
        if block is not None:
            return block if block.slot <= self.head.slot else None
        orphan = history.orphans.get(root)
        # Nodes drop the blocks of lost forks at finality.
        if orphan is not None and not self.is_finalized(orphan.slot):
            return orphan if orphan.slot <= self.head.slot else None
        return None

    def _checkpoint_slot(self, name: str) -> int:
        epoch = getattr(self.head, _CHECKPOINTS[name]).epoch
        return self.simulation.parameters.first_slot(epoch)

    def _has_late_block(self, slot: int) -> bool:
        """Whether the block of the clock's slot is still to come."""
        return (
            slot > 0
            and slot == self.slot
            and self.simulation.script.is_late(slot)
            and self.simulation.block(slot) is not None
        )


def _text(value: bool) -> str:
    return "true" if value else "false"


def refuse_too_far(view: NodeView, epoch: int) -> None:
    """Refuse duties of an epoch that is not known yet, and all of them while syncing."""
    if view.sync_distance:
        raise RefusalError(503, "Node is syncing")
    if epoch > view.head_epoch + 1:
        raise RefusalError(
            400, f"Requested epoch {epoch} must not be more than one epoch in the future"
        )
