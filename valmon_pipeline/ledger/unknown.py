"""Components of the ledger that are not known, and why.

A component rests on facts; one that a node did not give leaves it unknown for the validators that
the fact is about. What follows from the balance of a moment is then unknown for them, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from valmon_pipeline.ledger.postings import BoolArray, Component
from valmon_pipeline.ledger.residuals import Int8Array, ResidualClass

_CLASSES: Final[Mapping[Component, ResidualClass]] = {
    Component.ATTESTATION: ResidualClass.ATTESTATION_UNKNOWN,
    Component.SYNC: ResidualClass.SYNC_UNKNOWN,
    Component.PROPOSER: ResidualClass.PROPOSER_UNKNOWN,
    Component.WHISTLEBLOWER: ResidualClass.PROPOSER_UNKNOWN,
    Component.PARTIAL_WITHDRAWALS: ResidualClass.WITHDRAWALS_UNKNOWN,
    Component.FULL_WITHDRAWALS: ResidualClass.WITHDRAWALS_UNKNOWN,
}
"""The class of a row that lacks a component; the first one counts."""


@dataclass(frozen=True, slots=True)
class UnknownComponents:
    """``masks``: where each component is not known, a mark per validator (n); components without a
    mask are known. ``because`` (n): the ``ResidualClass.code`` of what is missing, -1 where nothing
    is."""

    masks: Mapping[Component, BoolArray]
    because: Int8Array

    @classmethod
    def of_facts(cls, rows: int, masks: Mapping[Component, BoolArray]) -> Self:
        """What facts leave unknown: ``masks`` of components that have a class of their own."""
        because = np.full(rows, -1, dtype=np.int8)
        for component, found in _CLASSES.items():
            if component in masks:
                because[masks[component] & (because == -1)] = found.code
        return cls(masks, because)

    @property
    def any(self) -> BoolArray:
        """Where any component is not known (n): there is no residual."""
        unknown: BoolArray = self.because >= 0
        return unknown

    def and_what_follows(
        self, following: Mapping[Component, BoolArray], near_zero: BoolArray
    ) -> UnknownComponents:
        """The same with what rests on the balance of a moment.

        Args:
            following: where a component rests on what was booked before it (n).
            near_zero: where a balance may have stopped at zero (n), so that any movement may have
                taken less than its amount.
        """
        nothing = np.zeros(len(self.because), dtype=np.bool_)
        masks = {
            component: self.masks.get(component, nothing)
            | (following.get(component, nothing) & self.any)
            | (near_zero & self.any)
            for component in Component
        }
        return UnknownComponents(masks, self.because)
