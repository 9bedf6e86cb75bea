"""Every state of the chain, remembered in little space.

The registry is kept whole once per epoch, columns that did not change shared between epochs; a slot
remembers the rows in which it differs from its epoch's first. A validator costs about 60 bytes per
epoch, see docs/devnet.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from valmon_pipeline.devnet.simulator.blocks import SimulatedBlock
from valmon_pipeline.devnet.simulator.epoch_processing import RewardedEpoch
from valmon_pipeline.devnet.simulator.shuffling import Shuffling
from valmon_pipeline.devnet.simulator.state import (
    Bytes,
    Checkpoint,
    Int64Array,
    PendingConsolidation,
    PendingDeposit,
    PendingPartialWithdrawal,
    State,
    Validators,
)

# What blocks change; everything else changes with the epoch only, and participation is apart.
_CHANGED_BY_BLOCKS: Final = (
    "balance",
    "slashed",
    "exit_epoch",
    "withdrawable_epoch",
    "withdrawal_credentials",
)
_PARTICIPATION: Final = ("previous_participation", "current_participation")
_KEPT: Final = tuple(
    column.name for column in fields(Validators) if column.name not in _PARTICIPATION
)


@dataclass(frozen=True, slots=True)
class Scalars:
    """The single numbers of a state, named as in ``State``; amounts are gwei."""

    justification_bits: tuple[bool, bool, bool, bool]
    next_withdrawal_index: int
    next_withdrawal_validator_index: int
    deposit_count: int
    eth1_deposit_index: int
    deposit_requests_start_index: int | None
    deposit_balance_to_consume: int
    exit_balance_to_consume: int
    earliest_exit_epoch: int
    consolidation_balance_to_consume: int
    earliest_consolidation_epoch: int

    @classmethod
    def of(cls, state: State) -> Scalars:
        """Remember the numbers of ``state``."""
        return cls(**{known.name: getattr(state, known.name) for known in fields(cls)})


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """The state after one slot; ``block`` is None if the slot has none.

    ``participation`` (previous and current epoch's flags) is kept for the first and the last slot
    of each epoch.
    """

    slot: int
    block: SimulatedBlock | None
    head: SimulatedBlock
    state_root: str
    previous_justified: Checkpoint
    current_justified: Checkpoint
    finalized: Checkpoint
    current_sync_committee: Int64Array
    next_sync_committee: Int64Array
    slashings: Int64Array
    pending_deposits: tuple[PendingDeposit, ...]
    pending_partial_withdrawals: tuple[PendingPartialWithdrawal, ...]
    pending_consolidations: tuple[PendingConsolidation, ...]
    total_active_balance: int
    scalars: Scalars
    participation: tuple[Bytes, Bytes] | None
    shuffling: Shuffling
    next_shuffling: Shuffling
    proposers: Mapping[int, Int64Array]
    base: Mapping[str, Any]
    changes: Mapping[str, tuple[Int64Array, Any]]

    @classmethod
    def of(
        cls,
        state: State,
        block: SimulatedBlock | None,
        head: SimulatedBlock,
        state_root: str,
        before: SlotRecord | None,
        *,
        epoch: int,
        starts_epoch: bool,
        ends_epoch: bool,
    ) -> SlotRecord:
        """Remember ``state``; ``before`` is the record of the slot before it on the same chain."""
        validators = state.validators
        grown = before is None or len(before.base["balance"]) != len(validators)
        if before is None or starts_epoch or grown:
            base: Mapping[str, Any] = _base(validators, None if before is None else before.base)
            changes: dict[str, tuple[Int64Array, Any]] = {}
        else:
            base = before.base
            changes = _differences(base, validators)
        participation = None
        if starts_epoch or ends_epoch:
            participation = (
                validators.previous_participation.copy(),
                validators.current_participation.copy(),
            )
        return cls(
            slot=state.slot,
            block=block,
            head=head,
            state_root=state_root,
            previous_justified=state.previous_justified,
            current_justified=state.current_justified,
            finalized=state.finalized,
            current_sync_committee=state.current_sync_committee,
            next_sync_committee=state.next_sync_committee,
            slashings=_shared(before and before.slashings, state.slashings),
            pending_deposits=_shared_queue(
                before and before.pending_deposits, state.pending_deposits
            ),
            pending_partial_withdrawals=_shared_queue(
                before and before.pending_partial_withdrawals, state.pending_partial_withdrawals
            ),
            pending_consolidations=_shared_queue(
                before and before.pending_consolidations, state.pending_consolidations
            ),
            total_active_balance=state.total_active_balance,
            scalars=Scalars.of(state),
            participation=participation,
            shuffling=state.shufflings[epoch],
            next_shuffling=state.shufflings[epoch + 1],
            proposers=dict(state.proposers),
            base=base,
            changes=changes,
        )

    def column(self, name: str) -> Any:
        """A column of the registry (n rows), see ``Validators``; not the participation."""
        column = self.base[name]
        if name not in self.changes:
            return column
        rows, values = self.changes[name]
        changed = column.copy()
        changed[rows] = values
        return changed

    def validators(self) -> Validators:
        """The whole registry; participation is zero where it was not kept."""
        columns: dict[str, Any] = {name: self.column(name) for name in _KEPT}
        count = len(columns["balance"])
        nothing = np.zeros(count, np.uint8), np.zeros(count, np.uint8)
        columns |= zip(_PARTICIPATION, self.participation or nothing, strict=True)
        return Validators(**columns)

    def __len__(self) -> int:
        return len(self.base["balance"])


class History:
    """What happened in each slot of the canonical chain, and which blocks were lost.

    ``epochs`` bounds it: older slots are forgotten. None keeps everything.
    """

    def __init__(self, slots_per_epoch: int, epochs: int | None = None) -> None:
        self._slots_per_epoch = slots_per_epoch
        self._epochs = epochs
        self.records: dict[int, SlotRecord] = {}
        self.rewarded: dict[int, RewardedEpoch] = {}
        self.blocks: dict[str, SimulatedBlock] = {}
        self.orphans: dict[str, SimulatedBlock] = {}
        self.slots_by_state_root: dict[str, int] = {}

    def remember(self, record: SlotRecord, rewarded: RewardedEpoch | None) -> None:
        """Add a slot, or replace it when the chain was reorganized."""
        lost = self.records.get(record.slot)
        if lost is not None:
            self.slots_by_state_root.pop(lost.state_root, None)
            if lost.block is not None:
                self.orphans[lost.block.root] = self.blocks.pop(lost.block.root)
        self.records[record.slot] = record
        self.slots_by_state_root[record.state_root] = record.slot
        if record.block is not None:
            self.blocks[record.block.root] = record.block
        if rewarded is not None:
            self.rewarded[rewarded.epoch] = rewarded
        if self._epochs is not None and record.slot % self._slots_per_epoch == 0:
            self._forget(record.slot - self._epochs * self._slots_per_epoch)

    def _forget(self, first: int) -> None:
        for slot in [slot for slot in self.records if slot < first]:
            record = self.records.pop(slot)
            self.slots_by_state_root.pop(record.state_root, None)
            if record.block is not None:
                self.blocks.pop(record.block.root, None)
        for epoch in [epoch for epoch in self.rewarded if epoch < first // self._slots_per_epoch]:
            del self.rewarded[epoch]
        for root in [root for root, block in self.orphans.items() if block.slot < first]:
            del self.orphans[root]


def _base(validators: Validators, before: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        name: _shared(None if before is None else before[name], getattr(validators, name))
        for name in _KEPT
    }


def _shared(known: Any, column: Any) -> Any:
    """Return the column that is known already if it is the same, else a copy of its own."""
    if known is not None and (known is column or np.array_equal(known, column)):
        return known
    return column.copy()


def _shared_queue(known: Any, queue: list[Any]) -> tuple[Any, ...]:
    found = tuple(queue)
    return known if known is not None and known == found else found


def _differences(
    base: Mapping[str, Any], validators: Validators
) -> dict[str, tuple[Int64Array, Any]]:
    changes = {}
    for name in _CHANGED_BY_BLOCKS:
        column = getattr(validators, name)
        if column is base[name]:
            continue
        differs = column != base[name]
        rows = np.flatnonzero(differs if differs.ndim == 1 else differs.any(axis=1))
        if len(rows):
            changes[name] = (rows, column[rows])
    return changes
