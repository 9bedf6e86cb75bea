"""How long subjects have been bad or good, from the judgements of the epochs before.

Unknown epochs neither count nor interrupt, nor do epochs that are not stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from valmon_pipeline.alerting.rule import (
    BAD,
    GOOD,
    UNKNOWN,
    BoolArray,
    Float64Array,
    Int8Array,
    Int64Array,
    Judgement,
    ObjectArray,
)


@dataclass(frozen=True, slots=True)
class Streaks:
    """Of each subject (n, ascending): bad and good epochs in a row up to the newest one judged.

    ``newest`` is the verdict in the newest epoch. ``since`` is the first epoch of the bad ones, and
    ``cost`` their gwei; ``slot`` and ``value`` are of the newest bad one (−1 and NaN: none).
    ``known`` says whether any epoch of the window was judged, ``failed`` whether any was bad.
    """

    subjects: Int64Array | ObjectArray
    newest: Int8Array
    bad: Int64Array
    good: Int64Array
    since: Int64Array
    cost: Int64Array
    slot: Int64Array
    value: Float64Array
    known: BoolArray
    failed: BoolArray


def streaks(history: Sequence[tuple[int, Judgement]]) -> Streaks:
    """Streaks over ``history``: epochs with their judgements, descending, at least one."""
    subjects = np.unique(np.concatenate([judgement.subjects for _, judgement in history]))
    count = len(subjects)
    newest = np.full(count, UNKNOWN, np.int8)
    bad, good, cost = (np.zeros(count, np.int64) for _ in range(3))
    since, slot = (np.full(count, -1, np.int64) for _ in range(2))
    value = np.full(count, np.nan)
    known, failed, bad_ended, good_ended = (np.zeros(count, np.bool_) for _ in range(4))
    for position, (epoch, judgement) in enumerate(history):
        rows = np.searchsorted(subjects, judgement.subjects)
        verdict = np.full(count, UNKNOWN, np.int8)
        verdict[rows] = judgement.verdict
        if position == 0:
            newest = verdict
        is_bad, is_good = verdict == BAD, verdict == GOOD
        known |= is_bad | is_good
        failed |= is_bad
        bad_ended |= is_good
        good_ended |= is_bad
        counted = is_bad & ~bad_ended
        first = counted & (bad == 0)
        bad += counted
        good += is_good & ~good_ended
        since[counted] = epoch
        costs, slots, values = np.zeros(count, np.int64), slot.copy(), value.copy()
        costs[rows], slots[rows], values[rows] = judgement.cost, judgement.slot, judgement.value
        cost[counted] += costs[counted]
        slot[first], value[first] = slots[first], values[first]
    return Streaks(subjects, newest, bad, good, since, cost, slot, value, known, failed)
