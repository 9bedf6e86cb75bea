"""Arrays in, a frame with a table's exact column types out. Never wraps, never rounds, never
guesses.

NULLs come as masks: a NumPy masked array, a pandas nullable array, NaN in a float column, None in a
binary column. Sentinels such as ``chain.epochs.NEVER`` or -1 are the caller's to mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from valmon_pipeline.errors import ContractViolationError
from valmon_pipeline.frames.columns import UTC_MICROSECONDS
from valmon_pipeline.frames.tables import contract_of


def conform(table: str, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Build the frame of ``table``: its columns, in its order, with its types.

    A value of ``columns`` is array-like with n entries (all the same n), a scalar that is repeated
    n times, or, for binary columns, an (n, length) uint8 matrix. Enumerations take names, a
    ``pd.Categorical``, or integers as positions in the contract's list of names. At least one value
    must be an array. Ranges and uniqueness are ``validate``'s business; what is refused here is
    what a cast would change.

    Raises:
        ContractViolationError: a column is missing, unknown, of another length, masked though NULL
        is
            not allowed, or has a value its type cannot hold; the message names column and value.
    """
    contract = contract_of(table)
    missing = [name for name in contract.columns if name not in columns]
    unknown = [name for name in columns if name not in contract.columns]
    if missing or unknown:
        raise ContractViolationError(
            f"{table}: columns do not match the contract: missing {missing}, unknown {unknown}",
            table=table,
        )
    length = _common_length(table, columns)
    data = {
        name: _Cast(table, name, column.nullable).to(
            column.dtype.type if column.dtype is not None else None,
            _repeat(columns[name], length),
            column.metadata or {},
        )
        for name, column in contract.schema.columns.items()
    }
    return pd.DataFrame(data, copy=False)


def empty_frame(table: str) -> pd.DataFrame:
    """The frame of ``table`` without a row: nothing is known, or nothing happened."""
    nothing: list[Any] = []
    return conform(table, dict.fromkeys(contract_of(table).columns, nothing))


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bytes) or np.ndim(value) == 0


def _common_length(table: str, columns: Mapping[str, Any]) -> int:
    lengths = {name: len(value) for name, value in columns.items() if not _is_scalar(value)}
    if not lengths:
        raise ContractViolationError(
            f"{table}: every column is a scalar; give at least one array", table=table
        )
    if len(set(lengths.values())) > 1:
        raise ContractViolationError(f"{table}: columns differ in length: {lengths}", table=table)
    return next(iter(lengths.values()))


def _repeat(value: Any, length: int) -> Any:
    if not _is_scalar(value):
        return value
    if value is None:
        return np.ma.array(np.zeros(length, dtype=np.int64), mask=np.ones(length, dtype=np.bool_))
    if isinstance(value, (bytes, str)):
        repeated = np.empty(length, dtype=object)
        repeated[:] = [value] * length
        return repeated
    if isinstance(value, (bool, np.bool_, int, float, np.number)):
        return np.full(length, value)
    return pd.Series([value] * length)


class _Cast:
    """Casts one column; carries the names that messages need."""

    def __init__(self, table: str, column: str, nullable: bool) -> None:
        self._table = table
        self._table = table
        self._column = column
        self._nullable = nullable

    def to(self, dtype: Any, value: Any, metadata: Mapping[str, Any]) -> Any:
        """``value`` as an array of ``dtype``, NULLs where ``value`` is masked."""
        if isinstance(dtype, pd.CategoricalDtype):
            return self._categorical(value, metadata["categories"])
        if isinstance(dtype, pd.DatetimeTZDtype):
            return self._moments(value)
        if isinstance(dtype, (pd.Int32Dtype, pd.Int64Dtype)):
            values, mask = self._integers(value, np.dtype(dtype.type))
            return pd.arrays.IntegerArray(values, mask)
        if isinstance(dtype, pd.BooleanDtype):
            values, mask = self._booleans(value)
            return pd.arrays.BooleanArray(values, mask)
        if isinstance(dtype, pd.StringDtype):
            return self._strings(value)
        plain = np.dtype(dtype)
        if plain.kind == "M":
            return self._days(value)
        if plain.kind == "i":
            return self._integers(value, plain)[0]
        if plain.kind == "b":
            return self._booleans(value)[0]
        if plain.kind == "f":
            return self._floats(value)
        return self._binary(value)

    def _integers(
        self, value: Any, dtype: np.dtype[Any]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        values, mask = self._split(value)
        if values.dtype.kind not in "iu" and not mask.all():
            raise self._refusal(f"needs whole numbers, got {values.dtype}")
        if mask.any():
            values = np.where(mask, 0, values)
        bounds = np.iinfo(dtype)
        outside = (values < bounds.min) | (values > bounds.max)
        if outside.any():
            raise self._refusal(
                f"{int(outside.sum())} of {len(values)} values do not fit {dtype}, "
                f"first {values[outside][0]} in row {int(np.flatnonzero(outside)[0])}"
            )
        return np.ascontiguousarray(values.astype(dtype)), mask

    def _booleans(self, value: Any) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        values, mask = self._split(value)
        if values.dtype.kind != "b" and not mask.all():
            raise self._refusal(f"needs booleans, got {values.dtype}")
        if mask.any():
            values = np.where(mask, False, values)
        return np.ascontiguousarray(values.astype(np.bool_)), mask

    def _floats(self, value: Any) -> npt.NDArray[np.float64]:
        values, mask = self._split(value)
        if values.dtype.kind not in "fiu":
            raise self._refusal(f"needs numbers, got {values.dtype}")
        return np.where(mask, np.nan, values.astype(np.float64))

    def _binary(self, value: Any) -> npt.NDArray[np.object_]:
        mask = np.ma.getmaskarray(value) if isinstance(value, np.ma.MaskedArray) else None
        plain = np.ma.getdata(value) if mask is not None else value
        array = plain if isinstance(plain, np.ndarray) else np.asarray(plain, dtype=object)
        if array.ndim == 2:
            if array.dtype != np.uint8:
                raise self._refusal(f"needs a uint8 matrix, got {array.dtype}")
            rows, width = array.shape
            result = np.empty(rows, dtype=object)
            result[:] = np.ascontiguousarray(array).view(f"V{width}").ravel().tolist()
            absent = np.zeros(rows, np.bool_) if mask is None else mask.all(axis=1)
        else:
            absent = np.zeros(len(array), np.bool_) if mask is None else mask
            if array.dtype != object and not absent.all():
                # NumPy's own "S" type drops trailing zero bytes, which roots and keys may end with.
                raise self._refusal(f"needs bytes objects or a uint8 matrix, got {array.dtype}")
            result = array.astype(object)
        result[absent] = None
        if not self._nullable and bool(pd.isna(result).any()):
            raise self._refusal("has NULLs, which the contract does not allow")
        return result

    def _strings(self, value: Any) -> pd.Series:
        series = pd.Series(value)
        allowed = {"string", "empty"} if self._nullable else {"string"}
        if len(series) and pd.api.types.infer_dtype(series, skipna=True) not in allowed:
            raise self._refusal("needs text")
        return series.astype("str").reset_index(drop=True)

    def _moments(self, value: Any) -> pd.Series:
        series = pd.Series(value)
        if len(series) and not isinstance(series.dtype, pd.DatetimeTZDtype):
            raise self._refusal("needs times with a time zone")
        return series.astype(UTC_MICROSECONDS).reset_index(drop=True)

    def _days(self, value: Any) -> pd.Series:
        series = pd.Series(value)
        if len(series) and not pd.api.types.is_datetime64_dtype(series.dtype):
            raise self._refusal("needs days: naive midnights (datetime64)")
        return series.astype("datetime64[ns]").reset_index(drop=True)

    def _categorical(self, value: Any, categories: tuple[str, ...]) -> Any:
        if isinstance(value, np.ma.MaskedArray):
            absent = np.ma.getmaskarray(value)
            array = np.ma.getdata(value)
        else:
            array = np.asarray(value)
            absent = np.asarray(pd.isna(array), dtype=np.bool_)
        if absent.any() and not self._nullable:
            raise self._refusal(f"{int(absent.sum())} NULLs, which the contract does not allow")
        if array.dtype.kind in "iu":
            return self._from_codes(array, absent, categories)
        codes = pd.Index(list(categories)).get_indexer(pd.Index(array.astype(object)))
        lost = (codes < 0) & ~absent
        if lost.any():
            raise self._refusal(
                f"{int(lost.sum())} values are none of {list(categories)}, first {array[lost][0]!r}"
            )
        return self._from_codes(codes, absent, categories)

    def _from_codes(
        self, codes: npt.NDArray[Any], absent: npt.NDArray[np.bool_], categories: tuple[str, ...]
    ) -> Any:
        outside = ((codes < 0) | (codes >= len(categories))) & ~absent
        if outside.any():
            raise self._refusal(
                f"position {codes[outside][0]} is outside the {len(categories)} names"
            )
        names = pd.Index(list(categories))
        present = np.where(absent, -1, codes)
        return pd.Categorical.from_codes(present, categories=names, ordered=False)

    def _split(self, value: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Values and mask; NULLs where the contract allows none are refused."""
        if isinstance(value, pd.Series):
            value = value.array
        if isinstance(value, (pd.arrays.IntegerArray, pd.arrays.BooleanArray)):
            mask = np.asarray(value.isna())
            values = value.to_numpy(dtype=np.dtype(value.dtype.type), na_value=0)
        elif isinstance(value, np.ma.MaskedArray):
            mask = np.ma.getmaskarray(value)
            values = np.ma.getdata(value)
        else:
            values = np.asarray(value)
            mask = np.zeros(len(values), dtype=np.bool_)
        if values.ndim != 1:
            raise self._refusal(f"needs one dimension, got shape {values.shape}")
        if not self._nullable and mask.any():
            raise self._refusal(f"{int(mask.sum())} NULLs, which the contract does not allow")
        if len(values) == 0 and values.dtype.kind == "f":
            values = values.astype(np.int64)  # np.asarray([]) is float64
        return values, mask

    def _refusal(self, what: str) -> ContractViolationError:
        return ContractViolationError(f"{self._table}.{self._column}: {what}", table=self._table)
