"""What may be behind a change of balance that no answer of the node explains, or what was not
answered.

A class says what is known to have happened to that validator in that epoch and cannot be priced
from the answers. Whatever has none is ``unexplained``: a mistake here, or a node that is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from valmon_pipeline.ledger.postings import BoolArray, Int64Array

Int8Array = npt.NDArray[np.int8]


class ResidualClass(StrEnum):
    """Classes under their stored names, in the order in which they are looked for."""

    ATTESTATION_UNKNOWN = "attestation_unknown"
    """The attestation rewards that the epoch's end credited are not known."""
    SYNC_UNKNOWN = "sync_unknown"
    """It is or may be in the sync committee, and the rewards of a block are not known."""
    PROPOSER_UNKNOWN = "proposer_unknown"
    """It proposed a block whose reward is not known."""
    WITHDRAWALS_UNKNOWN = "withdrawals_unknown"
    """A block was read without its withdrawals, and the validator's credentials allow some."""
    SLASHING_CORRELATION = "slashing_correlation"
    """The penalty for being slashed together with others, taken in this transition."""
    CONSOLIDATION = "consolidation"
    """A consolidation that the node could not list moved the balance away, or brought it."""
    COMPOUNDING_SWITCH = "compounding_switch"
    """A switch to compounding credentials moved what was above the minimum into the queue."""
    PENDING_DEPOSIT = "pending_deposit"
    """Credited from the queue of deposits (or by a consolidation), which the node cannot list."""
    BALANCE_FLOOR = "balance_floor"
    """The balance reached zero, where penalties stop short of their amount."""
    UNEXPLAINED = "unexplained"

    @property
    def code(self) -> int:
        """Position in the list of classes."""
        return list(ResidualClass).index(self)

    @property
    def is_unknown(self) -> bool:
        """Whether it says that a component is not known, so that there is no residual."""
        return self in _UNKNOWN


_UNKNOWN: Final = frozenset(
    {
        ResidualClass.ATTESTATION_UNKNOWN,
        ResidualClass.SYNC_UNKNOWN,
        ResidualClass.PROPOSER_UNKNOWN,
        ResidualClass.WITHDRAWALS_UNKNOWN,
    }
)


@dataclass(frozen=True, slots=True)
class ResidualEvidence:
    """What is known of each validator (n) that can explain a residual.

    ``correlation_due``: its correlation penalty is taken in this transition. ``consolidated``: it
    is the source or the target of a consolidation that was due. ``switched``: it switched to
    compounding credentials. ``queue_unknown``: deposits are queued (Electra), and the node does not
    list the queue; then something of at least ``minimum_deposit`` gwei may have come out of it, or
    anything for a ``compounding`` validator, whose excess balance is queued too.
    """

    correlation_due: BoolArray
    consolidated: BoolArray
    switched: BoolArray
    compounding: BoolArray
    queue_unknown: bool
    minimum_deposit: int


def residual_classes(
    residual: Int64Array, evidence: ResidualEvidence, reached_zero: BoolArray, because: Int8Array
) -> Int8Array:
    """The class of each residual (n) as ``ResidualClass.code``; -1 where it is 0.

    ``because`` is the class of rows that lack a component, -1 elsewhere: it goes before the others.
    """
    taken, added = residual < 0, residual > 0
    from_queue = added & (evidence.compounding | (residual >= evidence.minimum_deposit))
    conditions = {
        ResidualClass.SLASHING_CORRELATION: evidence.correlation_due & taken,
        ResidualClass.CONSOLIDATION: evidence.consolidated,
        ResidualClass.COMPOUNDING_SWITCH: evidence.switched,
        ResidualClass.PENDING_DEPOSIT: from_queue & evidence.queue_unknown,
        ResidualClass.BALANCE_FLOOR: added & reached_zero,
        ResidualClass.UNEXPLAINED: np.ones(len(residual), dtype=np.bool_),
    }
    codes = np.select(list(conditions.values()), [found.code for found in conditions])
    known = np.where(residual == 0, -1, codes)
    return np.where(because >= 0, because, known).astype(np.int8)
