"""Labels over time: a new configuration says what holds from now on, not what held before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from valmon_pipeline.frames.conform import conform


class _Range(NamedTuple):
    """A value and the epochs it holds for; ``until`` None: it still does."""

    start: int
    value: str
    until: int | None


def merge_labels(
    stored: pd.DataFrame, wanted: Iterable[tuple[int, str, str]], epoch: int
) -> pd.DataFrame:
    """Frame ``validator_labels`` once ``wanted`` holds from ``epoch`` on.

    The first label that a validator gets of a category holds from epoch 0: nothing else was ever
    said about the time before. A value that changes ends at ``epoch``, where the next one begins; a
    label that is no longer wanted ends there. What ended before stays. Of several changes in one
    epoch only the last is left. A change is never dated before the last one of the same validator
    and category, whatever ``epoch`` says: a node may be behind the one that was asked before.

    Args:
        stored: frame ``validator_labels`` as it is.
        wanted: (validator index, category, value) of every label of the configuration, a value per
            validator and category.
        epoch: the epoch of the chain's head, when the configuration is read.
    """
    history: dict[tuple[int, str], list[_Range]] = {}
    ordered = stored.sort_values(["validator_index", "category", "from_epoch"])
    for index, category, start, value, until in zip(
        ordered["validator_index"].tolist(),
        ordered["category"].tolist(),
        ordered["from_epoch"].tolist(),
        ordered["value"].tolist(),
        ordered["until_epoch"].array,
        strict=True,
    ):
        until_epoch = None if pd.isna(until) else int(until)
        history.setdefault((index, category), []).append(_Range(start, value, until_epoch))
    values = {(index, category): value for index, category, value in wanted}
    for key in history.keys() | values.keys():
        history[key] = _changed(history.get(key, []), values.get(key), epoch)
    return _frame(history)


def no_labels() -> pd.DataFrame:
    """Frame ``validator_labels`` without a label."""
    return _frame({})


def _changed(ranges: list[_Range], value: str | None, epoch: int) -> list[_Range]:
    """The history of one label, ascending, once ``value`` (None: no label) holds from ``epoch``."""
    if not ranges:
        return [] if value is None else [_Range(0, value, None)]
    *before, last = ranges
    if last.until is None:
        if last.value == value:
            return ranges
        at = max(epoch, last.start)
        ended = before if at == last.start else [*before, last._replace(until=at)]
    else:
        at = max(epoch, last.until)
        ended = ranges
    if value is None:
        return ended
    if ended and ended[-1].until == at and ended[-1].value == value:
        return [*ended[:-1], ended[-1]._replace(until=None)]
    return [*ended, _Range(at, value, None)]


def _frame(history: dict[tuple[int, str], list[_Range]]) -> pd.DataFrame:
    rows = [(*key, *part) for key in sorted(history) for part in history[key]]
    open_ended = np.array([row[4] is None for row in rows], dtype=np.bool_)
    return conform(
        "validator_labels",
        {
            "validator_index": np.array([row[0] for row in rows], dtype=np.int64),
            "category": np.array([row[1] for row in rows], dtype=object),
            "from_epoch": np.array([row[2] for row in rows], dtype=np.int64),
            "value": np.array([row[3] for row in rows], dtype=object),
            "until_epoch": np.ma.array(
                np.array([row[4] or 0 for row in rows], dtype=np.int64), mask=open_ended
            ),
        },
    )
