"""Beacon committees of one epoch: who has to attest when, and in which bit of which aggregate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import ChainRuleViolationError


@dataclass(frozen=True, slots=True)
class Committees:
    """All committees of one epoch: c committees, d duties (one per active validator).

    Committee columns (c): ``slot``, ``committee_index``, ``length`` and ``offset``, the first duty
    of the committee; sorted by (slot, committee_index), so those of a slot are consecutive.
    Duty column (d): ``validator_index``, committee after committee, in the order of their members.
    A duty's position in its committee is its row minus the committee's offset.
    """

    slot: Int64Array
    committee_index: Int64Array
    offset: Int64Array
    length: Int64Array
    validator_index: Int64Array

    @classmethod
    def from_rows(
        cls,
        slot: npt.ArrayLike,
        committee_index: npt.ArrayLike,
        lengths: npt.ArrayLike,
        flat: npt.ArrayLike,
        *,
        named_only: bool = False,
    ) -> Committees:
        """Committees in any order, their members concatenated in the same order in ``flat``.

        With ``named_only`` members that are not named are negative, each by a number of its own.

        Raises:
            ChainRuleViolationError: slots are not consecutive, a committee is missing or given
                twice, slots differ in their number of committees, lengths differ by more than one
                or do not add up to the members, or a validator has two duties.
        """
        slot, index, length, members = (
            _int64_column(name, values)
            for name, values in (
                ("slot", slot),
                ("committee_index", committee_index),
                ("lengths", lengths),
                ("validators", flat),
            )
        )
        _require_consistent_shape(slot, index, length, members)
        order = np.lexsort((index, slot))
        source_offset = np.cumsum(length) - length
        if not np.array_equal(order, np.arange(len(order))):
            members = _concatenate_slices(members, source_offset[order], length[order])
            slot, index, length = slot[order], index[order], length[order]
        _require_rectangle(slot, index)
        _require_even_lengths(slot, index, length)
        if not named_only:
            _require_members(members)
        _require_unique_members(members)
        offset = np.cumsum(length) - length
        return cls(slot, index, offset, length, members)

    @property
    def committees_per_slot(self) -> int:
        """The number of committees of each slot; the same for every slot of an epoch."""
        return int(np.count_nonzero(self.slot == self.slot[0]))

    @property
    def committee_of_duty(self) -> Int64Array:
        """For each duty (d) the row of its committee."""
        return np.repeat(np.arange(len(self.slot), dtype=np.int64), self.length)

    @property
    def duty_slot(self) -> Int64Array:
        """For each duty (d) the slot to attest in."""
        return np.repeat(self.slot, self.length)

    @property
    def duty_committee_index(self) -> Int64Array:
        """For each duty (d) the index of its committee within the slot."""
        return np.repeat(self.committee_index, self.length)

    @property
    def duty_committee_length(self) -> Int64Array:
        """For each duty (d) the number of members of its committee."""
        return np.repeat(self.length, self.length)

    @property
    def duty_position(self) -> Int64Array:
        """For each duty (d) the position, i.e. the bit, within its committee."""
        duties = np.arange(len(self.validator_index), dtype=np.int64)
        return duties - np.repeat(self.offset, self.length)

    def require_epoch(self, spec: ChainSpec, epoch: int) -> None:
        """Check that these are the committees of every slot of ``epoch`` and of no other.

        Raises:
            ChainRuleViolationError: slots of another epoch, a slot without committees, or more
                committees per slot than the chain allows.
        """
        first, last = spec.first_slot(epoch), spec.last_slot(epoch)
        if int(self.slot[0]) != first or int(self.slot[-1]) != last:
            raise ChainRuleViolationError(
                f"committees cover slots {int(self.slot[0])}…{int(self.slot[-1])}, "
                f"expected {first}…{last} of epoch {epoch}; ask the node again"
            )
        if self.committees_per_slot > spec.max_committees_per_slot:
            raise ChainRuleViolationError(
                f"epoch {epoch} has {self.committees_per_slot} committees per slot, more than "
                f"MAX_COMMITTEES_PER_SLOT = {spec.max_committees_per_slot}"
            )


def _int64_column(name: str, values: npt.ArrayLike) -> Int64Array:
    array = np.asarray(values)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
        raise ChainRuleViolationError(
            f"committees: {name} must be a column of integers, not {array.dtype} of {array.ndim} "
            "dimensions"
        )
    if array.dtype.kind == "u" and len(array) and int(array.max()) > np.iinfo(np.int64).max:
        raise ChainRuleViolationError(f"committees: {name} {int(array.max())} does not fit int64")
    return array.astype(np.int64, copy=False)


def _require_consistent_shape(
    slot: Int64Array, index: Int64Array, length: Int64Array, members: Int64Array
) -> None:
    if not len(slot) or not len(slot) == len(index) == len(length):
        raise ChainRuleViolationError(
            f"committees: {len(slot)} slots, {len(index)} indices and {len(length)} lengths given; "
            "an epoch has at least one committee per slot and one of each per committee"
        )
    if int(length.min()) < 0 or int(length.sum()) != len(members):
        raise ChainRuleViolationError(
            f"committees: lengths add up to {int(length.sum())}, but {len(members)} members given"
        )


def _concatenate_slices(members: Int64Array, start: Int64Array, length: Int64Array) -> Int64Array:
    """``members[start:start + length]`` of every committee, one after the other."""
    target_offset = np.cumsum(length) - length
    rows = np.arange(len(members), dtype=np.int64)
    gathered: Int64Array = members[rows + np.repeat(start - target_offset, length)]
    return gathered


def _require_rectangle(slot: Int64Array, index: Int64Array) -> None:
    """Consecutive slots with the same committees 0…k-1 each: the count is fixed per epoch."""
    slots = np.unique(slot)
    per_slot, remainder = divmod(len(slot), len(slots))
    rectangle = (
        remainder == 0
        and int(slots[-1] - slots[0]) + 1 == len(slots)
        and np.array_equal(slot, np.repeat(slots, per_slot))
        and np.array_equal(index, np.tile(np.arange(per_slot), len(slots)))
    )
    if not rectangle:
        wrong = [
            f"slot {s}: {index[slot == s].tolist()}"
            for s in range(int(slots[0]), min(int(slots[-1]), int(slots[0]) + 64) + 1)
            if not np.array_equal(index[slot == s], np.arange(max(1, per_slot)))
        ]
        raise ChainRuleViolationError(
            "committees: every slot of an epoch has the same committees 0…k-1, but indices are "
            + ("; ".join(wrong[:3]) or "uneven")
        )


def _require_even_lengths(slot: Int64Array, index: Int64Array, length: Int64Array) -> None:
    """The shuffling is cut into slices whose lengths differ by at most one (compute_committee)."""
    longest, shortest = int(length.argmax()), int(length.argmin())
    if int(length[longest] - length[shortest]) > 1:
        raise ChainRuleViolationError(
            f"committees: committee {int(index[longest])} of slot {int(slot[longest])} has "
            f"{int(length[longest])} members but committee {int(index[shortest])} of slot "
            f"{int(slot[shortest])} has {int(length[shortest])}; lengths of an epoch differ by at "
            "most one"
        )


def _require_members(members: Int64Array) -> None:
    if len(members) and int(members.min()) < 0:
        raise ChainRuleViolationError(
            f"committees: validator index {int(members.min())} is negative"
        )


def _require_unique_members(members: Int64Array) -> None:
    ordered = np.sort(members)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise ChainRuleViolationError(
            f"committees: validator {int(twice[0])} has more than one duty ({len(twice)} such "
            "rows); every active validator attests once per epoch"
        )
