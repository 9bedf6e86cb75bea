"""Groups of validators by their labels, and sums over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.scoring.rollup import Int64Array, Values

EVERYBODY: Final = ("all", "all")
"""Category and value of the group that all watched validators are in."""

UNLABELLED: Final = ""
"""The value of those without a label of a category: with them, its groups are a partition."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Who is in which group.

    ``names`` are (category, value), ``rows`` (m) the rows of the members, group after group,
    ascending in each; group ``i`` begins at ``starts[i]``. No group is empty.
    """

    names: tuple[tuple[str, str], ...]
    rows: Int64Array
    starts: Int64Array

    def total(self, values: Values) -> Values:
        """The sum of ``values`` (n) per group; masked where that of any member is."""
        if len(self.starts) == 0:
            return values[:0]
        total: Values = np.add.reduceat(np.ma.getdata(values)[self.rows], self.starts)
        if not isinstance(values, np.ma.MaskedArray):
            return total
        unknown = np.ma.getmaskarray(values)[self.rows]
        return np.ma.MaskedArray(
            total.astype(np.int64, copy=False), mask=np.logical_or.reduceat(unknown, self.starts)
        )


def groups_in_epoch(validators: Int64Array, labels: pd.DataFrame, epoch: int) -> Groups:
    """The groups of ``validators`` (n, ascending, each once) by the labels that hold in an epoch.

    There is one of everybody, and for every category there are labels of, whenever they hold, one
    per value and one of those without (``UNLABELLED``). So each category is a partition.

    Args:
        validators: whom to group.
        labels: frame ``validator_labels``, of whatever validators.
        epoch: the epoch.
    """
    names, members = [], []
    for name, rows in _groups(validators, labels, epoch):
        if len(rows):
            names.append(name)
            members.append(rows)
    lengths = np.array([len(rows) for rows in members], dtype=np.int64)
    return Groups(
        tuple(names),
        np.concatenate([np.zeros(0, dtype=np.int64), *members]),
        np.cumsum(lengths) - lengths,
    )


def _groups(
    validators: Int64Array, labels: pd.DataFrame, epoch: int
) -> Iterator[tuple[tuple[str, str], Int64Array]]:
    yield EVERYBODY, np.arange(len(validators), dtype=np.int64)
    until = labels["until_epoch"].to_numpy(np.int64, na_value=np.iinfo(np.int64).max)
    holds = (labels["from_epoch"].to_numpy(np.int64) <= epoch) & (epoch < until)
    holds &= np.isin(labels["validator_index"].to_numpy(np.int64), validators)
    holding = labels[holds]
    rows = np.searchsorted(validators, holding["validator_index"].to_numpy(np.int64))
    categories = holding["category"].to_numpy(object)
    values = holding["value"].to_numpy(object)
    for category in sorted(labels["category"].unique()):
        of_category = categories == category
        labelled = np.zeros(len(validators), dtype=np.bool_)
        labelled[rows[of_category]] = True
        yield (category, UNLABELLED), np.flatnonzero(~labelled)
        codes, distinct = pd.factorize(values[of_category], sort=True)
        order = np.lexsort((rows[of_category], codes))
        ends = np.searchsorted(codes[order], np.arange(len(distinct)), side="right")
        for value, part in zip(
            distinct, np.split(rows[of_category][order], ends[:-1]), strict=bool(len(distinct))
        ):
            yield (category, value), part.astype(np.int64)
