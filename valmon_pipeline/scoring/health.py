"""The verdict on a validator, and its reasons as short codes that alerts and people can read.

Whatever a validator could not help makes nobody critical: an inactivity leak, blocks that others
missed, a duty that no block could carry. Scores leave these out (see ``standings``), and ``leak``
is a reason only beside others: missing costs more then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
ObjectArray = npt.NDArray[np.object_]


class Health(StrEnum):
    """The verdicts under their stored names: three of ascending severity, and two without."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    CRITICAL = "critical"
    INACTIVE = "inactive"
    """Nothing is expected of it: not active yet or any more, or without a duty in the window."""
    UNKNOWN = "unknown"
    """Nothing is known of its duties: the committees of the epoch are not known, and in the rest of
    the window it had none."""


@dataclass(frozen=True, slots=True)
class HealthRules:
    """From where on a validator is degraded or critical.

    ``minimum_judged_epochs``: with fewer epochs that could be judged, the score decides nothing. A
    miss costs 1.74 times what an epoch is worth, so that one among 20 would be enough for degraded.
    """

    degraded_below: float = 0.9
    critical_below: float = 0.5
    degraded_missed_streak: int = 2
    critical_missed_streak: int = 5
    minimum_judged_epochs: int = 24


@dataclass(frozen=True, slots=True)
class LifeCycle:
    """Where each validator (n) is in its life at the end of the epoch."""

    pending: BoolArray
    exited: BoolArray
    slashed: BoolArray


def judge_health(
    rules: HealthRules,
    life: LifeCycle,
    *,
    score: Float64Array,
    judged_epochs: Int64Array,
    missed_streak: Int64Array,
    had_duty: BoolArray,
    leak: bool,
    duties_known: bool = True,
) -> tuple[ObjectArray, ObjectArray]:
    """The name of the verdict on each validator (n), and its reasons joined by commas.

    ``score`` is NaN where nothing could be judged. Reasons are None for healthy validators.
    Without ``duties_known``, those of the newest epoch, who had none before may have one.
    """
    idle = ~had_duty & ~life.pending & ~life.exited
    inactive = life.pending | life.exited | ~had_duty
    unknown = idle if not duties_known else np.zeros(len(score), dtype=np.bool_)
    counted = judged_epochs >= rules.minimum_judged_epochs
    # A comparison with NaN is false: no score, no verdict by it.
    poor, bad = (
        counted & (score < limit) for limit in (rules.degraded_below, rules.critical_below)
    )
    long_streak = missed_streak >= rules.critical_missed_streak
    streak = long_streak | (missed_streak >= rules.degraded_missed_streak)
    critical = life.slashed | long_streak | bad
    degraded = streak | poor
    health = np.select(
        [unknown, inactive, critical, degraded],
        [
            *(Health.UNKNOWN.value, Health.INACTIVE.value),
            *(Health.CRITICAL.value, Health.DEGRADED.value),
        ],
        default=Health.HEALTHY.value,
    ).astype(object)
    reasons = _Reasons(len(score))
    reasons.add(life.pending, "pending")
    reasons.add(life.exited, "exited")
    reasons.add(life.slashed, "slashed")
    reasons.add(unknown, "duties_unknown")
    reasons.add(idle & ~unknown, "no_duty")
    active = ~inactive
    for count in np.unique(missed_streak[active & streak]).tolist():
        reasons.add(active & streak & (missed_streak == count), f"missed_streak:{count}")
    reasons.add(active & poor & ~bad, f"score_below:{rules.degraded_below:g}")
    reasons.add(active & bad, f"score_below:{rules.critical_below:g}")
    if leak:
        reasons.add(active & (critical | degraded), "leak")
    return health, reasons.joined()


class _Reasons:
    """Codes per validator. Validators share few combinations, each of which is spelt out once."""

    def __init__(self, validators: int) -> None:
        self._codes: list[str] = []
        self._masks: list[BoolArray] = []
        self._length = validators

    def add(self, whose: BoolArray, code: str) -> None:
        if whose.any():
            self._codes.append(code)
            self._masks.append(whose)

    def joined(self) -> ObjectArray:
        texts = np.full(self._length, None, dtype=object)
        for rows, codes in self._combinations():
            texts[rows] = ",".join(codes)
        return texts

    def _combinations(self) -> Iterator[tuple[Int64Array, list[str]]]:
        if not self._masks:
            return
        matrix = np.column_stack(self._masks)
        some = np.flatnonzero(matrix.any(axis=1))
        combinations, which = np.unique(matrix[some], axis=0, return_inverse=True)
        for number, combination in enumerate(combinations):
            codes = [code for code, has in zip(self._codes, combination, strict=True) if has]
            yield some[which.ravel() == number], codes
