"""Who does what in an epoch: committees, proposers and the sync committee, drawn from the seed.

The lengths of committees, and that everybody active serves once per epoch, are those of the
specification; the order comes from the simulation's entropy instead of swap-or-not. Draws depend on
the block root that fixes them, so that a reorganization changes them as it does in truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from valmon_pipeline.devnet.simulator.entropy import Entropy
from valmon_pipeline.devnet.simulator.parameters import Parameters

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shuffling:
    """The committees of an epoch: committee k has ``members[bounds[k]:bounds[k + 1]]``.

    Committees are numbered through the epoch, ``committees_per_slot`` for each slot.
    """

    epoch: int
    committees_per_slot: int
    members: Int64Array
    bounds: Int64Array
    dependent_root: str

    @classmethod
    def draw(
        cls,
        parameters: Parameters,
        entropy: Entropy,
        epoch: int,
        active: Int64Array,
        dependent_root: str,
    ) -> Shuffling:
        """Draw the committees of ``epoch`` among the ``active`` validator indices (n)."""
        per_slot = committee_count_per_slot(parameters, len(active))
        count = per_slot * parameters.slots_per_epoch
        order = entropy.permutation(len(active), "committees", epoch, dependent_root)
        bounds = len(active) * np.arange(count + 1, dtype=np.int64) // count
        return cls(epoch, per_slot, active[order], bounds, dependent_root)

    def committees(self, slot_in_epoch: int) -> range:
        """The numbers of the committees of a slot."""
        first = slot_in_epoch * self.committees_per_slot
        return range(first, first + self.committees_per_slot)

    def committee(self, number: int) -> Int64Array:
        """The members of a committee in the order of its bits."""
        return self.members[self.bounds[number] : self.bounds[number + 1]]

    def of_slot(self, slot_in_epoch: int) -> Int64Array:
        """The members of all committees of a slot, one after the other."""
        numbers = self.committees(slot_in_epoch)
        return self.members[self.bounds[numbers.start] : self.bounds[numbers.stop]]


def committee_count_per_slot(parameters: Parameters, active_count: int) -> int:
    """``get_committee_count_per_slot``."""
    wanted = active_count // parameters.slots_per_epoch // parameters.target_committee_size
    return max(1, min(parameters.max_committees_per_slot, wanted))


def draw_proposers(
    parameters: Parameters,
    entropy: Entropy,
    epoch: int,
    active: Int64Array,
    effective_balance: Int64Array,
    dependent_root: str,
) -> Int64Array:
    """The proposer of each slot of ``epoch``, drawn by the effective balance of ``active``."""
    drawn = entropy.weighted(
        parameters.slots_per_epoch, effective_balance, "proposers", epoch, dependent_root
    )
    return active[drawn]


def draw_sync_committee(
    parameters: Parameters,
    entropy: Entropy,
    epoch: int,
    active: Int64Array,
    effective_balance: Int64Array,
    dependent_root: str,
) -> Int64Array:
    """The validator of each seat, drawn by effective balance; one validator can hold several."""
    drawn = entropy.weighted(
        parameters.sync_committee_size, effective_balance, "sync committee", epoch, dependent_root
    )
    return active[drawn]
