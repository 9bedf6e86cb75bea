"""Frames as PostgreSQL's binary COPY stream, and back. Vectorised: no loop over rows.

The format (PostgreSQL manual, COPY, "Binary Format"): a header, then per row a 16-bit field count
and per field a 32-bit length (-1 for NULL) and that many bytes, all big-endian, then a trailer.

A chunk of rows is laid out as one fixed-width array; where fields are NULL or shorter than the
widest, a mask then drops the bytes that do not belong to the stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER: Final = b"\xff\xff"
POSTGRES_EPOCH_MICROSECONDS: Final = 946_684_800_000_000
"""2000-01-01, where PostgreSQL counts time from, in microseconds since 1970."""
POSTGRES_EPOCH_DAYS: Final = np.int32(10_957)
"""The same in days."""
CHUNK_BYTES: Final = 4 * 2**20
_ELEMENT_TYPES: Final = {2: 21, 4: 23, 8: 20}
"""PostgreSQL's numbers (``pg_type.oid``) of smallint, integer and bigint, by bytes."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column, ready to be written.

    ``values`` is an array of n big-endian scalars or an (n, width) uint8 matrix. ``absent`` marks
    NULLs; None when there are none. ``lengths`` are the bytes used of each matrix row; None when
    all are.
    """

    values: npt.NDArray[Any]
    absent: npt.NDArray[np.bool_] | None = None
    lengths: npt.NDArray[np.int32] | None = None

    @property
    def width(self) -> int:
        if self.values.ndim == 2:
            return int(self.values.shape[1])
        return int(self.values.dtype.itemsize)

    @property
    def dtype(self) -> np.dtype[Any]:
        if self.values.ndim == 2:
            return np.dtype((np.uint8, (self.width,)))
        return self.values.dtype.newbyteorder(">")


def binary_copy(frame: pd.DataFrame) -> Iterator[bytes]:
    """The COPY stream of ``frame`` in pieces of about ``CHUNK_BYTES``, columns in the frame's
    order.

    Takes the column types that ``frames.conform`` makes.
    """
    yield HEADER
    yield from copied_rows([field_of(frame[name]) for name in frame.columns])
    yield TRAILER


def copied_rows(fields: list[Field]) -> Iterator[bytes]:
    """The rows of a COPY stream, between ``HEADER`` and ``TRAILER``: all fields have n values."""
    row_bytes = 2 + sum(4 + field.width for field in fields)
    rows_per_chunk = max(1, CHUNK_BYTES // row_bytes)
    total = len(fields[0].values)
    for start in range(0, total, rows_per_chunk):
        yield _rows(fields, slice(start, min(start + rows_per_chunk, total)))


def array_field(values: npt.NDArray[Any]) -> Field:
    """A column of SQL arrays without NULLs: one per row of a matrix (n, length) of integers.

    The arrays are ``smallint[]``, ``integer[]`` or ``bigint[]``, as wide as the matrix's type. On
    the wire (PostgreSQL's ``array_send``) they have a header and a length before each element.
    """
    rows, length = values.shape
    size = values.dtype.itemsize
    element = np.dtype([("size", ">i4"), ("value", f">i{size}")])
    array = np.empty(rows, np.dtype([("header", ">i4", (5,)), ("elements", element, (length,))]))
    array["header"] = [1, 0, _ELEMENT_TYPES[size], length, 1]
    array["elements"]["size"] = size
    array["elements"]["value"] = values
    return Field(array.view(np.uint8).reshape(rows, -1))


def field_of(column: pd.Series) -> Field:
    """A column of a conformed frame as a field. TypeError for types that contracts do not use."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _category(column)
    if isinstance(dtype, pd.StringDtype):
        return _bytes([None if pd.isna(value) else value.encode() for value in column])
    if isinstance(dtype, pd.DatetimeTZDtype):
        moments = column.to_numpy(dtype="datetime64[us]").astype(np.int64)
        return Field(moments - POSTGRES_EPOCH_MICROSECONDS, _any(column.isna().to_numpy()))
    if isinstance(dtype, pd.Int32Dtype | pd.Int64Dtype | pd.BooleanDtype):
        plain = np.dtype(dtype.type)
        return Field(column.to_numpy(dtype=plain, na_value=0), _any(column.isna().to_numpy()))
    values = column.to_numpy()
    if values.dtype.kind == "M":
        days = values.astype("datetime64[D]").astype(np.int32)
        return Field(days - POSTGRES_EPOCH_DAYS)
    if values.dtype.kind in "ib":
        return Field(values)
    if values.dtype.kind == "f":
        return Field(values, _any(np.isnan(values)))
    if values.dtype.kind == "O":
        return _bytes(values.tolist())
    raise TypeError(f"column {column.name} has type {dtype}, which no table uses")


def _rows(fields: list[Field], rows: slice) -> bytes:
    layout = _layout(fields)
    array = np.empty(rows.stop - rows.start, dtype=layout)
    array["count"] = len(fields)
    for number, field in enumerate(fields):
        array[f"value{number}"] = field.values[rows]
        lengths: Any = field.width if field.lengths is None else field.lengths[rows]
        if field.absent is not None:
            lengths = np.where(field.absent[rows], -1, lengths)
        array[f"length{number}"] = lengths
    if all(field.absent is None and field.lengths is None for field in fields):
        return array.tobytes()
    stream = array.view(np.uint8).reshape(len(array), layout.itemsize)
    return stream[_kept(fields, layout, rows)].tobytes()


def _kept(fields: list[Field], layout: np.dtype[Any], rows: slice) -> npt.NDArray[np.bool_]:
    """Which bytes of the fixed-width rows belong to the stream."""
    kept = np.ones((rows.stop - rows.start, layout.itemsize), dtype=np.bool_)
    offsets = layout.fields
    assert offsets is not None
    for number, field in enumerate(fields):
        start = offsets[f"value{number}"][1]
        part = kept[:, start : start + field.width]
        if field.lengths is not None:
            part &= np.arange(field.width) < field.lengths[rows][:, np.newaxis]
        if field.absent is not None:
            part &= ~field.absent[rows][:, np.newaxis]
    return kept


def _layout(fields: list[Field]) -> np.dtype[Any]:
    described: list[tuple[str, Any]] = [("count", ">i2")]
    for number, field in enumerate(fields):
        described += [(f"length{number}", ">i4"), (f"value{number}", field.dtype)]
    return np.dtype(described)


def _category(column: pd.Series) -> Field:
    names = _bytes([str(name).encode() for name in column.cat.categories])
    codes = column.cat.codes.to_numpy()
    assert names.lengths is not None
    return Field(names.values[codes], _any(codes < 0), names.lengths[codes])


def _bytes(values: list[bytes | None]) -> Field:
    """Byte strings side by side in a matrix as wide as the longest."""
    absent = np.fromiter((value is None for value in values), np.bool_, len(values))
    present = [b"" if value is None else value for value in values]
    lengths = np.fromiter(map(len, present), np.int32, len(present))
    width = int(lengths.max(initial=0))
    matrix = np.zeros((len(present), width), dtype=np.uint8)
    used = np.arange(width) < lengths[:, np.newaxis]
    matrix[used] = np.frombuffer(b"".join(present), dtype=np.uint8)
    return Field(matrix, _any(absent), lengths)


def _any(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | None:
    return mask if bool(mask.any()) else None
