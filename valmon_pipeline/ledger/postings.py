"""Single movements of balances, in the order in which the chain makes them.

Order matters twice: some amounts are what a balance holds at that moment, and a balance never falls
below zero, so that a penalty may take less than its name says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Self

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class Component(StrEnum):
    """What a movement is booked as: the ledger's columns under their stored names."""

    ATTESTATION = "attestation"
    SYNC = "sync"
    PROPOSER = "proposer"
    WHISTLEBLOWER = "whistleblower"
    PARTIAL_WITHDRAWALS = "partial_withdrawals"
    FULL_WITHDRAWALS = "full_withdrawals"
    DEPOSITS = "deposits"
    CONSOLIDATIONS = "consolidations"
    COMPOUNDING_SWITCH = "compounding_switch"
    SLASHING = "slashing"
    SLASHING_CORRELATION = "slashing_correlation"
    OTHER = "other"

    @property
    def code(self) -> int:
        """Position in the list of components."""
        return list(Component).index(self)


class Stage(IntEnum):
    """When within a slot: the epoch transition (if the slot is an epoch's first), then its block.

    Sources: consensus-specs, ``process_epoch`` and ``upgrade_to_electra``; ``process_block`` and
    ``process_operations`` of ``specs/electra/beacon-chain.md``.
    """

    ATTESTATION_DELTAS = 0
    CORRELATION_PENALTIES = 1
    PENDING_DEPOSITS = 2
    PENDING_CONSOLIDATIONS = 3
    FORK_UPGRADE = 4
    WITHDRAWALS = 5
    SLASHINGS = 6
    ATTESTATIONS = 7
    DEPOSITS = 8
    REQUESTS = 9
    SYNC_AGGREGATE = 10


@dataclass(frozen=True, slots=True)
class Postings:
    """Movements (m): ``row`` of the validator, ``slot``, ``stage``, ``component`` (code) and
    ``amount`` in gwei, negative for what is taken."""

    row: Int64Array
    slot: Int64Array
    stage: Int64Array
    component: Int64Array
    amount: Int64Array

    @classmethod
    def of(
        cls, row: Int64Array, slot: int, stage: Stage, component: Component, amount: Int64Array
    ) -> Self:
        """One movement per row at the same moment."""
        return cls(
            row,
            np.full(len(row), slot, dtype=np.int64),
            np.full(len(row), stage, dtype=np.int64),
            np.full(len(row), component.code, dtype=np.int64),
            amount,
        )

    @classmethod
    def one(cls, row: int, slot: int, stage: Stage, component: Component, amount: int) -> Self:
        """A single movement."""
        return cls.of(np.array([row]), slot, stage, component, np.array([amount], dtype=np.int64))

    @classmethod
    def joined(cls, parts: Iterable[Postings]) -> Self:
        """All movements of ``parts`` in the order of time; of one moment, in the order given."""
        collected = [cls(*(np.zeros(0, dtype=np.int64) for _ in range(5))), *parts]
        columns = [
            np.concatenate([getattr(part, name) for part in collected])
            for name in ("row", "slot", "stage", "component", "amount")
        ]
        order = np.lexsort((columns[2], columns[1]))
        return cls(*(column[order] for column in columns))

    def __len__(self) -> int:
        return len(self.row)

    def total(self, rows: int) -> Int64Array:
        """Sum of the movements of each of ``rows`` validators, gwei."""
        total = np.zeros(rows, dtype=np.int64)
        np.add.at(total, self.row, self.amount)
        return total

    def by_component(self, rows: int) -> dict[Component, Int64Array]:
        """The same per component."""
        totals = {}
        for component in Component:
            ours = self.component == component.code
            totals[component] = np.zeros(rows, dtype=np.int64)
            np.add.at(totals[component], self.row[ours], self.amount[ours])
        return totals

    def balance_at(self, opening: Int64Array, row: int, slot: int, stage: Stage) -> int:
        """The balance of a validator just before a stage, gwei."""
        earlier = (self.slot < slot) | ((self.slot == slot) & (self.stage < stage))
        return int(opening[row]) + int(self.amount[(self.row == row) & earlier].sum())

    def floored(self, opening: Int64Array) -> Postings:
        """The movements as a balance that stops at zero lets them happen (``decrease_balance``).

        The movements must be in the order of time. Only validators that would fall below zero are
        gone through one by one.
        """
        order = np.lexsort((np.arange(len(self)), self.row))
        grouped = self.row[order]
        running = opening[grouped] + _running_sum_by_group(grouped, self.amount[order])
        below = np.unique(grouped[running < 0])
        if not len(below):
            return self
        amount = self.amount.copy()
        for row in below.tolist():
            balance = int(opening[row])
            for at in np.flatnonzero(self.row == row).tolist():
                amount[at] = max(int(amount[at]), -balance)
                balance += int(amount[at])
        return Postings(self.row, self.slot, self.stage, self.component, amount)


def _running_sum_by_group(group: Int64Array, values: Int64Array) -> Int64Array:
    """Cumulative sums that start anew with each group; ``group`` ascends."""
    if not len(values):
        return values
    sums = np.cumsum(values)
    starts = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    before = np.append(0, sums)[starts]
    lengths = np.diff(np.append(starts, len(group)))
    running: Int64Array = sums - np.repeat(before, lengths)
    return running
