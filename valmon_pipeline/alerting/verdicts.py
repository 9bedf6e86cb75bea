"""Parts that rules judge with: verdicts by threshold, and looks at the frames of one epoch.

An excused miss is unknown, never bad, and so is a value that is NULL or rests on a fact of the
epoch that no node gave.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from valmon_pipeline.alerting.rule import (
    BAD,
    GOOD,
    UNKNOWN,
    BoolArray,
    EpochFacts,
    Float64Array,
    Int8Array,
    Int64Array,
    Judgement,
    RuleSettings,
)


def above(
    value: Float64Array, settings: RuleSettings, *, unknown: BoolArray | None = None
) -> Int8Array:
    """Verdicts: bad from the threshold on, good below ``clear``; ``clear`` ≤ threshold."""
    good = value < settings.clear if settings.clear < settings.threshold else None
    return _verdict(value >= settings.threshold, good, value, unknown)


def below(
    value: Float64Array, settings: RuleSettings, *, unknown: BoolArray | None = None
) -> Int8Array:
    """Verdicts: bad below the threshold, good from ``clear`` on; ``clear`` ≥ threshold."""
    return _verdict(value < settings.threshold, value >= settings.clear, value, unknown)


def _verdict(
    bad: BoolArray, good: BoolArray | None, value: Float64Array, unknown: BoolArray | None
) -> Int8Array:
    good = ~bad if good is None else good
    verdict = np.where(bad, BAD, np.where(good, GOOD, UNKNOWN))
    absent = np.isnan(value) if unknown is None else np.isnan(value) | unknown
    return np.where(absent, UNKNOWN, verdict).astype(np.int8)


def of_validators(
    frame: pd.DataFrame,
    verdict: Int8Array,
    value: Float64Array,
    cost: Int64Array | None = None,
    slot: Int64Array | None = None,
) -> Judgement:
    """The judgement on the validators of ``frame``, a row each, ascending."""
    subjects = frame["validator_index"].to_numpy(np.int64)
    none = np.zeros(len(subjects), np.int64)
    return Judgement(
        subjects, verdict, value, none if cost is None else cost, none - 1 if slot is None else slot
    )


def of_groups(
    sums: pd.DataFrame, verdict: Int8Array, value: Float64Array, cost: Int64Array
) -> Judgement:
    """The judgement on the named groups of frame ``epoch_summaries``; validators without a label of
    a category are not judged as one."""
    value_name = sums["value"].astype(str).to_numpy(dtype=object)
    names = (sums["category"].astype(str).to_numpy(dtype=object) + ":") + value_name
    named = np.flatnonzero(value_name != "")
    order = named[np.argsort(names[named].astype(str), kind="stable")]
    slot = np.full(len(order), -1, np.int64)
    return Judgement(names[order], verdict[order], value[order], cost[order], slot)


def share(part: Int64Array, whole: Int64Array) -> Float64Array:
    """``part`` of ``whole``, NaN where there is no whole."""
    found = np.full(len(whole), np.nan)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def gwei(column: pd.Series) -> Int64Array:
    """Amounts, 0 where they are unknown."""
    return column.to_numpy(dtype=np.int64, na_value=0)


def statuses(facts: EpochFacts) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Snapshots at the first slot of the epoch and of the next one."""
    snapshots = facts.tables["validator_snapshots"]
    first = facts.epoch * facts.slots_per_epoch
    before, after = (
        snapshots[snapshots["slot"] == slot].reset_index(drop=True)
        for slot in (first, first + facts.slots_per_epoch)
    )
    return before, after


def among(validators: pd.DataFrame, others: pd.DataFrame) -> BoolArray:
    """True for each of ``validators`` that has a row in ``others``."""
    return np.isin(validators["validator_index"].to_numpy(), others["validator_index"].to_numpy())


def without_status(before: pd.DataFrame, after: pd.DataFrame) -> BoolArray:
    """True for each row of ``after`` (n) whose status is unknown at one of the two ends."""
    at_start = among(after, before[before["status"].isna().to_numpy(np.bool_)])
    return at_start | after["status"].isna().to_numpy(np.bool_)


def in_blocks(facts: EpochFacts, events: tuple[str, ...], after: pd.DataFrame) -> BoolArray:
    """True for each validator of ``after`` (n) that one of ``events`` in the epoch's blocks names
    and that was not ignored."""
    found = facts.tables["block_events"]
    ignored = found["effective"].eq(False).fillna(False)
    ours = found[(found["event_type"].isin(events) & ~ignored).to_numpy(np.bool_)]
    return np.isin(
        after["validator_index"].to_numpy(np.int64),
        ours["validator_index"].dropna().to_numpy(np.int64),
    )


def rows_of(known: Int64Array, wanted: Int64Array) -> tuple[Int64Array, BoolArray]:
    """Positions in ``known`` (ascending) of those of ``wanted`` that are there, and which are."""
    at = np.searchsorted(known, wanted)
    inside = at < len(known)
    inside[inside] = known[at[inside]] == wanted[inside]
    return at[inside].astype(np.int64), inside
