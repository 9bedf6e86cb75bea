"""closing balance = opening balance + everything that moved it + residual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from valmon_pipeline.ledger.postings import Component, Int64Array, Postings
from valmon_pipeline.ledger.residuals import Int8Array, ResidualEvidence, residual_classes
from valmon_pipeline.ledger.unknown import UnknownComponents

MaskedGwei = np.ma.MaskedArray[tuple[int, ...], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class BalanceLedger:
    """One row per validator (n), gwei. ``residual_class`` is ``ResidualClass.code``, -1 where the
    residual is 0. Numbers of components that are ``unknown`` mean nothing, nor does the residual of
    a row that lacks one."""

    opening_balance: Int64Array
    components: Mapping[Component, Int64Array]
    closing_balance: Int64Array
    residual: Int64Array
    residual_class: Int8Array
    unknown: UnknownComponents

    def component(self, component: Component) -> MaskedGwei:
        """A component (n), masked where it is not known."""
        mask = self.unknown.masks.get(component, np.ma.nomask)
        return np.ma.MaskedArray(self.components[component], mask=mask)


def residual_of(opening: Int64Array, closing: Int64Array, postings: Postings) -> Int64Array:
    """What the movements do not explain of each validator's (n) change of balance, gwei."""
    moved = postings.floored(opening).total(len(opening))
    unexplained: Int64Array = closing - opening - moved
    return unexplained


def balance_ledger(
    opening: Int64Array,
    closing: Int64Array,
    postings: Postings,
    evidence: ResidualEvidence,
    unknown: UnknownComponents,
) -> BalanceLedger:
    """The ledger of validators (n) between two states; 0 opens one that did not exist yet.

    ``postings`` are all movements in between, in the order of time, their rows those of ``opening``
    and ``closing``.
    """
    happened = postings.floored(opening)
    residual = closing - opening - happened.total(len(opening))
    stopped_short = np.zeros(len(opening), dtype=np.bool_)
    stopped_short[postings.row[happened.amount != postings.amount]] = True
    return BalanceLedger(
        opening_balance=opening,
        components=happened.by_component(len(opening)),
        closing_balance=closing,
        residual=residual,
        residual_class=residual_classes(
            residual, evidence, stopped_short | (closing == 0), unknown.because
        ),
        unknown=unknown,
    )
