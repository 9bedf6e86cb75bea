"""Sums per validator, over the rows of one epoch or of many. Ratios are made from sums, never
averaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
Numbers: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.float64]
MaskedIntegers: TypeAlias = np.ma.MaskedArray[tuple[int, ...], np.dtype[np.int64]]
Values: TypeAlias = Numbers | MaskedIntegers


class SumsByValidator:
    """Named sums per validator, added to piece by piece.

    Integer sums are exact. Float sums are added up row by row, so that they depend on the order of
    the rows but not on the pieces they came in. A sum one of whose rows is masked is unknown, and
    masked itself.
    """

    def __init__(self) -> None:
        self._validators = np.zeros(0, dtype=np.int64)
        self._sums: dict[str, Numbers] = {}
        self._unknown: dict[str, npt.NDArray[np.bool_]] = {}

    @property
    def validators(self) -> Int64Array:
        """The validators that are summed up, ascending."""
        return self._validators

    def include(self, validators: Int64Array) -> None:
        """Give these validators a row, even if nothing is ever added to it."""
        known = self._validators
        both = np.union1d(known, validators)
        if len(both) == len(known):
            return
        rows = np.searchsorted(both, known)
        self._validators = both
        self._sums = {name: _spread(values, rows, len(both)) for name, values in self._sums.items()}
        self._unknown = {
            name: _spread(values, rows, len(both)) for name, values in self._unknown.items()
        }

    def add(self, validators: Int64Array, sums: Mapping[str, Values]) -> None:
        """Add to each named sum one value per row; a validator may have many rows.

        Rows of validators that were not included are left out.

        Args:
            validators: the validator of each row.
            sums: by name the value of each row; int64 or float64, always the same for a name.
                Masked values are unknown.
        """
        rows = np.searchsorted(self._validators, validators)
        ours = np.zeros(len(validators), dtype=np.bool_)
        within = rows < len(self._validators)
        ours[within] = self._validators[rows[within]] == validators[within]
        rows = rows[ours]
        for name, values in sums.items():
            total = self._sums.setdefault(name, _zeros(len(self._validators), values))
            if isinstance(values, np.ma.MaskedArray):
                unknown = self._unknown.setdefault(
                    name, np.zeros(len(self._validators), dtype=np.bool_)
                )
                unknown[rows[np.ma.getmaskarray(values)[ours]]] = True
                values = values.filled(0)
            np.add.at(total, rows, values[ours])

    def total(self, name: str) -> Values:
        """The sum for each of ``validators``: 0 for one that was never added to; masked where it is
        unknown, if it was ever added to with masked values."""
        total = self._sums.get(name, np.zeros(len(self._validators), dtype=np.int64))
        if name not in self._unknown:
            return total
        return np.ma.MaskedArray(total.astype(np.int64, copy=False), mask=self._unknown[name])


def _zeros(length: int, like: Values) -> Numbers:
    if like.dtype == np.float64:
        return np.zeros(length, dtype=np.float64)
    return np.zeros(length, dtype=np.int64)


def _spread(values: npt.NDArray[Any], rows: npt.NDArray[np.intp], length: int) -> npt.NDArray[Any]:
    """``values`` at ``rows`` of an array of ``length``, zeros elsewhere."""
    longer = np.zeros(length, dtype=values.dtype)
    longer[rows] = values
    return longer
