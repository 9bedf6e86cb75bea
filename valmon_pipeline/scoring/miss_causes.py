"""Why an attestation earned less than a perfect one: one cause per duty, the one that weighs most.

A cause tells to whom the loss is owed. It is judged from what blocks carry, against the votes of
the same slot; it does not say why a validator was silent or late.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
Int8Array = npt.NDArray[np.int8]
BoolArray = npt.NDArray[np.bool_]


class MissCause(StrEnum):
    """Causes under their stored names, in the order in which they are looked for."""

    SLASHED = "slashed"
    """Slashed validators earn nothing, whatever they vote."""
    NO_OPPORTUNITY = "no_opportunity"
    """No block of the window could have included the vote: the chain's fault."""
    EXIT_BOUNDARY = "exit_boundary"
    """Not included, in the last epoch before the exit: where keys are often stopped early."""
    NOT_INCLUDED = "not_included"
    """No block carries the vote although one could have: the validator's fault, as far as known."""
    WRONG_TARGET = "wrong_target"
    """Included, but for another checkpoint than the canonical one."""
    LATE_INCLUSION = "late_inclusion"
    """Included later than possible, and a flag was lost by it."""
    NEXT_BLOCK_MISSED = "next_block_missed"
    """The next slot had no block, which alone could have earned the head flag: that proposer's."""
    LATE_BLOCK = "late_block"
    """Wrong head, as most votes of the slot: its block came late or was left behind."""
    WRONG_HEAD = "wrong_head"
    """Wrong head, unlike most votes of the slot: the validator's fault."""

    @property
    def code(self) -> int:
        """Position in the list of causes: what ``miss_causes`` returns."""
        return list(MissCause).index(self)


def miss_causes(
    *,
    slot: Int64Array,
    inclusion_slot: Int64Array,
    earliest_inclusion_slot: Int64Array,
    target_correct: BoolArray,
    head_correct: BoolArray,
    source_timely: BoolArray,
    target_timely: BoolArray,
    head_timely: BoolArray,
    slashed: BoolArray,
    last_epoch_before_exit: BoolArray,
    head_missed_by_most: BoolArray,
    head_delay: int,
) -> Int8Array:
    """The cause of each duty (d) as ``MissCause.code``; -1 for one that earned all three flags.

    ``inclusion_slot`` and ``earliest_inclusion_slot`` are -1 where there is none.
    ``head_missed_by_most`` is from :func:`head_missed_by_most`. ``head_delay`` is the inclusion
    delay that the head flag asks for (MIN_ATTESTATION_INCLUSION_DELAY).
    """
    included = inclusion_slot >= 0
    possible = earliest_inclusion_slot >= 0
    next_block_missed = possible & (earliest_inclusion_slot - slot > head_delay)
    late = included & (inclusion_slot > earliest_inclusion_slot)
    # A late vote that could not have had the head flag anyway lost something only with the source.
    lost_by_lateness = late & (~source_timely | (head_correct & ~next_block_missed))
    conditions = {
        MissCause.SLASHED: slashed,
        MissCause.NO_OPPORTUNITY: ~possible,
        MissCause.EXIT_BOUNDARY: ~included & last_epoch_before_exit,
        MissCause.NOT_INCLUDED: ~included,
        MissCause.WRONG_TARGET: ~target_correct,
        MissCause.LATE_INCLUSION: lost_by_lateness,
        # A vote that named the wrong head would not have had the flag in the next block either.
        MissCause.NEXT_BLOCK_MISSED: head_correct,
        MissCause.LATE_BLOCK: head_missed_by_most,
        MissCause.WRONG_HEAD: np.ones(len(slot), dtype=np.bool_),
    }
    codes = np.select(list(conditions.values()), [cause.code for cause in conditions], default=-1)
    earned_all = source_timely & target_timely & head_timely & ~slashed
    return np.where(earned_all, -1, codes).astype(np.int8)


def head_missed_by_most(
    slot: Int64Array, included: BoolArray, head_correct: BoolArray
) -> BoolArray:
    """Whether, in each duty's slot (d), more included votes named another head than the canonical.

    All duties of the epoch must be given, not only those of watched validators.
    """
    if len(slot) == 0:
        return np.zeros(0, dtype=np.bool_)
    place = slot - int(slot.min())
    votes = np.bincount(place[included], minlength=int(place.max()) + 1)
    correct = np.bincount(place[included & head_correct], minlength=len(votes))
    return (2 * correct < votes)[place]
