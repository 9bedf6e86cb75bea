"""How a validator stands after an epoch, from the facts of a window of epochs that ends with it.

The score of an epoch is the attainable effectiveness; where that is unknown or nothing could be
earned (an inactivity leak, unknown totals of the network), the attestation effectiveness. Both are
1 for the best that was possible. An epoch whose duty is excused has no score: no block could carry
the vote, or it was missed in the last epoch before the exit. Nor has one of a slashed validator,
which cannot earn anything, whatever it votes.

An epoch whose duties are not known is as if it were not stored: it has no scores, is no miss and
ends no streak of misses, and the window is not complete.

The time-weighted score after epoch E is

    Σ w(E − e) · score(e) / Σ w(E − e),   w(age) = 2^(−age / half-life),

over the epochs e of the window that have a score. The window is cut off so that a standing is a
function of a bounded number of stored epochs; with the defaults the oldest weighs a sixteenth.

Floating-point sums depend on their order, and standings must not depend on how they came about. So
the sums are always added up epoch by epoch, the oldest first, each as one operation over all
validators: neither the validators that are computed together nor the epochs that were computed
before make a difference, to the last bit. A running sum that the next epoch is added to and the
oldest taken from would be cheaper, and another one after every start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from valmon_pipeline.scoring.health import HealthRules

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]
Int8Array = npt.NDArray[np.int8]
Int64Array = npt.NDArray[np.int64]

NO_DUTY: Final = 0
EXCUSED: Final = 1
KEPT: Final = 2
MISSED: Final = 3


@dataclass(frozen=True, slots=True)
class StandingRules:
    """How standings are computed. ``window_epochs`` counts the epoch itself."""

    half_life_epochs: float = 32.0
    window_epochs: int = 128
    health: HealthRules = field(default_factory=HealthRules)

    def first_epoch(self, epoch: int) -> int:
        """The first epoch of the window that ends with ``epoch``; the chain has none before 0."""
        return max(0, epoch - self.window_epochs + 1)


@dataclass(frozen=True, slots=True)
class EpochFacts:
    """What standings need of an epoch, per validator with a score or duty in it (n, ascending).

    ``score`` is that of :func:`epoch_score`, ``duty`` that of :func:`duty_results`. Without
    ``duties_known`` nobody has a duty here, whoever had one.
    """

    epoch: int
    validators: Int64Array
    score: Float64Array
    duty: Int8Array
    duties_known: bool = True


@dataclass(frozen=True, slots=True)
class Standings:
    """Standings of validators (n) after an epoch, without the verdict on them.

    ``judged_epochs`` counts the epochs with a score, ``had_duty`` says whether there was any duty.
    ``window_epochs`` counts the epochs of the window whose duties are known; ``window_complete``:
    these are all. ``duties_known`` says it of the newest epoch.
    """

    time_weighted_score: Float64Array
    missed_streak: Int64Array
    judged_epochs: Int64Array
    had_duty: BoolArray
    window_epochs: int
    window_complete: bool
    duties_known: bool = True


def duty_results(included: BoolArray, possible: BoolArray, excused: BoolArray) -> Int8Array:
    """What became of attestation duties (d): ``KEPT``, ``MISSED`` or ``EXCUSED``.

    ``possible``: a block could have carried the vote; ``excused``: it was not included in the last
    epoch before the validator's exit, where keys are often stopped early, or it is not known that
    this was not so.
    """
    missed = np.where(possible & ~excused, MISSED, EXCUSED)
    return np.where(included, KEPT, missed).astype(np.int8)


def epoch_score(
    duty: Int8Array,
    slashed: BoolArray,
    attainable_effectiveness: Float64Array,
    attestation_effectiveness: Float64Array,
) -> Float64Array:
    """The score of an epoch per validator (n); NaN where nothing was due or could be judged."""
    known = ~np.isnan(attainable_effectiveness)
    score = np.where(known, attainable_effectiveness, attestation_effectiveness)
    judged = ((duty == KEPT) | (duty == MISSED)) & ~slashed
    return np.where(judged, score, np.nan)


class StandingsWindow:
    """The facts of the epochs in a window, which slides as epochs are added in ascending order.

    It holds 9 bytes per validator and epoch, and 8 more per validator for each change of who they
    are: 1.2 GB for a million validators and the default window, 1.2 MB for a thousand. Adding is
    cheap, standings cost one pass over the window.
    """

    def __init__(self, rules: StandingRules) -> None:
        self._rules = rules
        # One by one: array functions may round differently in vectors and at their ends.
        self._weights = [2.0 ** (-age / rules.half_life_epochs) for age in _ages(rules)]
        self._epochs: deque[EpochFacts] = deque()

    @property
    def newest(self) -> int:
        """The epoch added last, -1 before the first one."""
        return self._epochs[-1].epoch if self._epochs else -1

    def add(self, facts: EpochFacts) -> None:
        """Slide on to an epoch; those in between that are not given are not stored.

        Raises:
            ValueError: the epoch is not newer than the one before.
        """
        if facts.epoch <= self.newest:
            raise ValueError(f"epoch {facts.epoch} comes after epoch {self.newest}")
        if self._epochs and np.array_equal(self._epochs[-1].validators, facts.validators):
            # Kept once, and recognised below by being the same object.
            same = self._epochs[-1].validators
            facts = replace(facts, validators=same)
        self._epochs.append(facts)
        first = self._rules.first_epoch(facts.epoch)
        while self._epochs[0].epoch < first:
            self._epochs.popleft()

    def standings(self, validators: Int64Array) -> Standings:
        """How ``validators`` (n, ascending) stand after the epoch that was added last."""
        count = len(validators)
        numerator, denominator = np.zeros((2, count))
        missed_streak, judged_epochs = np.zeros((2, count), dtype=np.int64)
        had_duty = np.zeros(count, dtype=np.bool_)
        for age, score, duty in self._aligned(validators):
            weight = self._weights[age]
            judged = ~np.isnan(score)
            numerator += np.where(judged, weight * score, 0.0)
            denominator += np.where(judged, weight, 0.0)
            judged_epochs += judged
            missed_streak += duty == MISSED
            missed_streak[duty == KEPT] = 0
            had_duty |= duty != NO_DUTY
        score = np.full(count, np.nan)
        np.divide(numerator, denominator, out=score, where=judged_epochs > 0)
        due = self.newest - self._rules.first_epoch(self.newest) + 1
        known = sum(facts.duties_known for facts in self._epochs)
        return Standings(
            time_weighted_score=score,
            missed_streak=missed_streak,
            judged_epochs=judged_epochs,
            had_duty=had_duty,
            window_epochs=known,
            window_complete=known == due,
            duties_known=self._epochs[-1].duties_known,
        )

    def _aligned(self, validators: Int64Array) -> Iterator[tuple[int, Float64Array, Int8Array]]:
        """Age, scores and duties (n) of each epoch, the oldest first, for these validators."""
        before: Int64Array | None = None
        rows = np.zeros(0, dtype=np.int64)
        for facts in self._epochs:
            if facts.validators is not before:
                before = facts.validators
                rows = _rows(facts.validators, validators)
            age = self.newest - facts.epoch
            # Row -1, no such validator, finds what is appended here.
            score = np.append(facts.score, np.nan)[rows]
            yield age, score, np.append(facts.duty, np.int8(NO_DUTY))[rows]


def _ages(rules: StandingRules) -> range:
    return range(rules.window_epochs)


def _rows(validators: Int64Array, wanted: Int64Array) -> Int64Array:
    """Where each of ``wanted`` is in ``validators``, -1 if it is not."""
    if len(validators) == 0:
        return np.full(len(wanted), -1, dtype=np.int64)
    rows = np.minimum(np.searchsorted(validators, wanted), len(validators) - 1)
    return np.where(validators[rows] == wanted, rows, -1).astype(np.int64)
