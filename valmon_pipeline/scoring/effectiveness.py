"""Effectiveness of one epoch's work. Ratios are undefined (NaN) where nothing was due.

Attestation effectiveness is Jim McDonald's definition (Attestant, "Defining attestation
effectiveness", 6 August 2020). Over several duties or validators it is the mean of the single
values; the other ratios are summed before they are divided, never averaged.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from valmon_pipeline.errors import ChainRuleViolationError

FORMULA_VERSION: Final = 2
"""Raised whenever a score computed from the same facts would come out differently."""

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


def attestation_effectiveness(
    duty_slot: Int64Array, earliest_inclusion_slot: Int64Array, inclusion_slot: Int64Array
) -> Float64Array:
    """(earliest inclusion slot - duty slot) / (inclusion slot - duty slot) per duty (n), 0…1.

    0 if the vote was not included (``inclusion_slot`` -1), NaN if no block could have included it
    (``earliest_inclusion_slot`` -1): no opportunity, not a failure.

    Raises:
        ChainRuleViolationError: an inclusion before the earliest possible one or the duty.
    """
    possible = earliest_inclusion_slot >= 0
    included = inclusion_slot >= 0
    impossible = (possible & (earliest_inclusion_slot <= duty_slot)) | (
        included & (~possible | (inclusion_slot < earliest_inclusion_slot))
    )
    if impossible.any():
        row = int(impossible.argmax())
        raise ChainRuleViolationError(
            f"duty of slot {int(duty_slot[row])}: inclusion in slot {int(inclusion_slot[row])} and "
            f"earliest inclusion in slot {int(earliest_inclusion_slot[row])} contradict each other "
            f"({int(impossible.sum())} such duties)"
        )
    effectiveness = np.where(possible, 0.0, np.nan)
    np.divide(
        earliest_inclusion_slot - duty_slot,
        inclusion_slot - duty_slot,
        out=effectiveness,
        where=included,
    )
    return effectiveness


def reward_effectiveness(actual: Int64Array, ideal: Int64Array) -> Float64Array:
    """Actual / ideal reward (n, gwei), at most 1, negative after penalties.

    NaN where the ideal is 0, as in an inactivity leak or with no effective balance.
    """
    return ratio(actual, ideal)


def attainable_effectiveness(actual: Int64Array, attainable: Int64Array) -> Float64Array:
    """Actual / attainable reward (n, gwei), at most 1, negative after penalties.

    Attainable is what a perfect vote could still earn, given the blocks that there were. NaN where
    that is 0 or a penalty: in an inactivity leak, without effective balance, or where no block
    could carry the vote in time.
    """
    return np.where(attainable > 0, ratio(actual, attainable), np.nan)


def ratio(numerator: Int64Array, denominator: Int64Array) -> Float64Array:
    """Numerator / denominator per row (n); NaN where the denominator is 0, i.e. nothing was due."""
    result = np.full(len(denominator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result
