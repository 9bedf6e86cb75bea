"""Frames that keep their contract, recognized with a fraction of pandera's work.

pandera takes some milliseconds per table however few its rows are, most of them for what a report
of failures needs. Nearly every frame has no failures. Here the contract's own rules, taken from its
schema, are applied to the columns' arrays, and the answer is yes or "ask pandera": nothing is
refused here, and a rule that is not known here is asked of pandera.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pa

from valmon_pipeline.frames.columns import IS_FINITE
from valmon_pipeline.frames.contract import RowRule, TableContract

_AT_LEAST: Final = "greater_than_or_equal_to"
_AT_MOST: Final = "less_than_or_equal_to"


def obviously_keeps(contract: TableContract, frame: pd.DataFrame) -> bool:
    """True only if ``frame`` keeps ``contract``; False if it does not, or if only pandera can tell.

    Types are compared first, then NULLs and values column by column, then whole rows.
    """
    acceptance = _acceptance_of(contract)
    return acceptance is not None and acceptance.holds(frame)


@dataclass(frozen=True, slots=True)
class _Acceptance:
    """A contract's rules, taken apart once."""

    columns: tuple[_ColumnRules, ...]
    rows: tuple[RowRule, ...]

    def holds(self, frame: pd.DataFrame) -> bool:
        """Whether every rule holds."""
        if [column.name for column in self.columns] != list(frame.columns):
            return False
        if not all(column.holds(frame[column.name]) for column in self.columns):
            return False
        # A rule is met by what is true: NULL is for pandera to judge.
        return all(
            bool(rule.rule(frame).fillna(False).to_numpy(dtype=np.bool_).all())
            for rule in self.rows
        )


@dataclass(frozen=True, slots=True)
class _ColumnRules:
    """The rules of one column. Bounds are None where there are none; ``others`` are the checks
    that pandera itself has to apply."""

    name: str
    dtype: Any
    nullable: bool
    minimum: float | None
    maximum: float | None
    finite: bool
    others: tuple[pa.Check, ...]

    def holds(self, values: pd.Series) -> bool:
        """Whether type, NULLs and values are as they have to be."""
        if not self._is_of_type(values.dtype):
            return False
        null = _nulls(values)
        if null is not None and not self.nullable and bool(null.any()):
            return False
        return self._is_within(values) and all(check(values).check_passed for check in self.others)

    def _is_of_type(self, found: Any) -> bool:
        if isinstance(self.dtype, pd.CategoricalDtype) and isinstance(found, pd.CategoricalDtype):
            # pandas takes another order of the names for the same type.
            return not found.ordered and list(found.categories) == list(self.dtype.categories)
        return bool(found == self.dtype)

    def _is_within(self, values: pd.Series) -> bool:
        if self.minimum is None and self.maximum is None and not self.finite:
            return True
        if isinstance(values.dtype, pd.Int32Dtype | pd.Int64Dtype):
            present = values.array[~np.asarray(values.isna())]
            numbers: npt.NDArray[Any] = present.to_numpy(dtype=np.dtype(values.dtype.type))
        else:
            numbers = values.to_numpy()
        # NaN is a NULL, and compares with nothing.
        below = self.minimum is not None and bool((numbers < self.minimum).any())
        above = self.maximum is not None and bool((numbers > self.maximum).any())
        infinite = self.finite and bool(np.isinf(numbers).any())
        return not (below or above or infinite)


def _nulls(values: pd.Series) -> npt.NDArray[np.bool_] | None:
    """Which values are NULL; None for types that have no NULL."""
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iub":
        return None
    return np.asarray(values.isna(), dtype=np.bool_)


@cache
def _acceptance_of(contract: TableContract) -> _Acceptance | None:
    """The rules of a table; None if its schema has some that are not known here."""
    schema, row_rules = contract.schema, contract.row_rules
    if len(schema.checks) != len(row_rules) or not (schema.strict and schema.ordered):
        return None
    columns = [_column_rules(column, described) for column, described in schema.columns.items()]
    if any(column is None for column in columns):
        return None
    return _Acceptance(tuple(column for column in columns if column is not None), row_rules)


def _column_rules(name: str, column: pa.Column) -> _ColumnRules | None:
    if column.dtype is None or column.coerce or column.unique or column.parsers:
        return None
    bounds: dict[str, float] = {}
    others: list[pa.Check] = []
    finite = False
    for check in column.checks:
        if check.name == _AT_LEAST and _AT_LEAST not in bounds:
            bounds[_AT_LEAST] = check.statistics["min_value"]
        elif check.name == _AT_MOST and _AT_MOST not in bounds:
            bounds[_AT_MOST] = check.statistics["max_value"]
        elif check.name == IS_FINITE:
            finite = True
        else:
            others.append(check)
    return _ColumnRules(
        name,
        column.dtype.type,
        bool(column.nullable),
        bounds.get(_AT_LEAST),
        bounds.get(_AT_MOST),
        finite,
        tuple(others),
    )
