"""Values of an answer as arrays and plain types, each checked and refused by its field path."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from valmon_pipeline.beacon.schemas import Number
from valmon_pipeline.chain.epochs import FAR_FUTURE_EPOCH, NEVER
from valmon_pipeline.chain.registry import ByteMatrix, Int64Array

INT64_MAX: Final = int(np.iinfo(np.int64).max)
INT64_MIN: Final = int(np.iinfo(np.int64).min)
LAST_SLOT: Final = 2**40 - 1
"""No chain gets there within a hundred thousand years, whatever its slots."""
LATEST_TIME: Final = 2**38 - 1
"""Unix seconds; the year 10680."""

_INVALID: Final = 255
_NIBBLE: Final = np.full(256, _INVALID, np.uint8)
_NIBBLE[[*b"0123456789"]] = range(10)
_NIBBLE[[*b"abcdef"]] = range(10, 16)
_NIBBLE[[*b"ABCDEF"]] = range(10, 16)


class FieldError(ValueError):
    """A field of an answer is not what the Beacon API promises."""

    def __init__(self, path: str, value: object, expected: str) -> None:
        shown = repr(value)
        if len(shown) > 100:
            shown = shown[:97] + "…"
        super().__init__(f"field {path} is {shown}, expected {expected}")


def integer(value: Number, path: str, minimum: int = 0, maximum: int = INT64_MAX) -> int:
    """Return a value that must be an integer in ``minimum`` … ``maximum``."""
    if type(value) is not int or not minimum <= value <= maximum:
        raise FieldError(path, value, _expected(minimum, maximum))
    return value


def int64_column(values: Collection[Number], path: str, minimum: int = 0) -> Int64Array:
    """Return values as int64. ``path`` holds ``{}`` where the row number belongs."""
    if set(map(type, values)) <= {int}:
        try:
            column = np.fromiter(values, np.int64, len(values))
        except OverflowError:
            pass
        else:
            if minimum <= INT64_MIN or not len(column) or int(column.min()) >= minimum:
                return column
    for row, value in enumerate(values):
        integer(value, path.format(row), minimum)
    raise AssertionError(f"{path}: no value of the column is wrong")


def epoch_column(values: Collection[Number], path: str) -> Int64Array:
    """Return epochs as int64, FAR_FUTURE_EPOCH as ``NEVER``."""
    if set(map(type, values)) <= {int}:
        try:
            column = np.fromiter(values, np.uint64, len(values))
        except OverflowError:
            pass
        else:
            far_future = column == np.uint64(FAR_FUTURE_EPOCH)
            if bool((far_future | (column < np.uint64(NEVER))).all()):
                return np.where(far_future, np.uint64(NEVER), column).astype(np.int64)
    for row, value in enumerate(values):
        if type(value) is not int or not (0 <= value < NEVER or value == FAR_FUTURE_EPOCH):
            raise FieldError(
                path.format(row), value, f"an epoch: an integer from 0, or {FAR_FUTURE_EPOCH}"
            )
    raise AssertionError(f"{path}: no value of the column is wrong")


def bytes_of(value: str, path: str, length: int | None = None) -> bytes:
    """Return the bytes of a ``0x…`` string; ``length`` is the number of bytes it must have."""
    if value[:2] == "0x" and value.isalnum() and value.isascii():
        try:
            data = bytes.fromhex(value[2:])
        except ValueError:
            pass
        else:
            if length is None or len(data) == length:
                return data
    raise FieldError(path, value, _expected_hex(length))


def byte_matrix(values: Collection[str], path: str, length: int) -> ByteMatrix:
    """Return ``0x…`` strings of ``length`` bytes each as an (n, length) array."""
    width = 2 + 2 * length
    text = "".join(values).encode("ascii", errors="replace")
    if len(text) == width * len(values) and set(map(len, values)) <= {width}:
        characters = np.frombuffer(text, np.uint8).reshape(-1, width)
        nibbles = _NIBBLE[characters[:, 2:]]
        prefix = characters[:, :2] == np.frombuffer(b"0x", np.uint8)
        if bool(prefix.all()) and not bool((nibbles == _INVALID).any()):
            matrix: ByteMatrix = np.left_shift(nibbles[:, ::2], 4, dtype=np.uint8)
            matrix |= nibbles[:, 1::2]
            return matrix
    for row, value in enumerate(values):
        bytes_of(value, path.format(row), length)
    raise AssertionError(f"{path}: no value of the column is wrong")


def require_unique(column: Int64Array, path: str) -> None:
    """Refuse a column that holds a value twice. The column must be sorted."""
    repeated = np.flatnonzero(column[1:] == column[:-1])
    if len(repeated):
        raise FieldError(path, int(column[repeated[0]]), "each value once")


def _expected(minimum: int, maximum: int = INT64_MAX) -> str:
    if maximum < INT64_MAX:
        return f"an integer from {minimum} to {maximum}"
    if minimum == 0:
        return "a non-negative integer below 2**63"
    if minimum <= INT64_MIN:
        return "an integer of 64 bits"
    return f"an integer from {minimum} and below 2**63"


def _expected_hex(length: int | None) -> str:
    return "hexadecimal bytes (0x…)" if length is None else f"{length} bytes as hexadecimal (0x…)"
