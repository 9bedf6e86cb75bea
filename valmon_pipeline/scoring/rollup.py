"""Sums over the epochs of a day, per validator. Ratios are made from sums, never averaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int64] | npt.NDArray[np.float64]
Array = TypeVar("Array", bound=npt.NDArray[Any])


class SumsByValidator:
    """Named sums per validator index, added to piece by piece.

    Integer sums are exact. Float sums are added up row by row, so that they depend on the order of
    the rows but not on the pieces they came in.
    """

    def __init__(self) -> None:
        self._present = np.zeros(0, dtype=np.bool_)
        self._sums: dict[str, Numbers] = {}
        self._unknown: dict[str, npt.NDArray[np.bool_]] = {}

    @property
    def validators(self) -> Int64Array:
        """The validators that are summed up, ascending."""
        return np.flatnonzero(self._present).astype(np.int64)

    def include(self, validators: Int64Array) -> None:
        """Give these validators a row, even if nothing is ever added to it."""
        self._grow(validators)
        self._present[validators] = True

    def add(self, validators: Int64Array, sums: Mapping[str, Numbers]) -> None:
        """Add to each named sum one value per row; a validator may have many rows.

        Rows of validators that were not included are left out.

        Args:
            validators: the validator of each row.
            sums: by name the value of each row; int64 or float64, always the same for a name.
        """
        self._grow(validators)
        ours = self._present[validators]
        for name, values in sums.items():
            total = self._sum(name, values.dtype)
            np.add.at(total, validators[ours], values[ours])

    def add_unknown(
        self, validators: Int64Array, name: str, values: Int64Array, unknown: npt.NDArray[np.bool_]
    ) -> None:
        """Add to a sum that is unknown for a validator as soon as one of its rows is.

        Args:
            validators: the validator of each row.
            name: the sum.
            values: the value of each row, any where it is unknown.
            unknown: whether it is.
        """
        self.add(validators, {name: np.where(unknown, 0, values)})
        marks = self._unknown.setdefault(name, np.zeros(0, dtype=np.bool_))
        self._unknown[name] = marks = _grown(marks, len(self._present))
        marks[validators[unknown]] = True

    def total(self, name: str) -> Numbers:
        """The sum for each of ``validators``; 0 for one that was never added to."""
        validators = self.validators
        if name not in self._sums:
            return np.zeros(len(validators), dtype=np.int64)
        return _grown(self._sums[name], len(self._present))[validators]

    def total_or_masked(self, name: str) -> np.ma.MaskedArray[tuple[int, ...], np.dtype[np.int64]]:
        """The same for a sum of ``add_unknown``, masked where it is unknown."""
        marks = _grown(self._unknown.get(name, np.zeros(0, np.bool_)), len(self._present))
        return np.ma.MaskedArray(self.total(name), mask=marks[self.validators])

    def _grow(self, validators: Int64Array) -> None:
        if len(validators):
            self._present = _grown(self._present, int(validators.max()) + 1)

    def _sum(self, name: str, dtype: np.dtype[np.int64] | np.dtype[np.float64]) -> Numbers:
        kept: Numbers = self._sums.get(name, np.zeros(0, dtype=dtype))  # type: ignore[arg-type]
        self._sums[name] = _grown(kept, len(self._present))
        return self._sums[name]


def _grown(array: Array, length: int) -> Array:
    """``array`` with zeros appended up to ``length``."""
    if len(array) >= length:
        return array
    longer: Array = np.zeros(length, dtype=array.dtype)  # type: ignore[assignment]
    longer[: len(array)] = array
    return longer
