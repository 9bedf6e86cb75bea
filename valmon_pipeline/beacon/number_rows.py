"""Lists of objects that hold nothing but integers, decoded straight into int64 columns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from operator import attrgetter

import msgspec
import numpy as np

from valmon_pipeline.beacon.columns import INT64_MIN, FieldError, int64_column, integer
from valmon_pipeline.beacon.field_path import value_at
from valmon_pipeline.beacon.schemas import Number
from valmon_pipeline.beacon.uniform_rows import read_uniform_rows
from valmon_pipeline.chain.registry import Int64Array


def decode_number_rows(
    rows: msgspec.Raw, fields: Sequence[str], path: str, *, minimum: Sequence[int]
) -> tuple[Int64Array, ...]:
    """Return one column per field of a JSON list of objects.

    ``path`` names the list in errors; ``minimum`` is the smallest value allowed per field. Other
    fields of the objects are ignored.

    Raises:
        FieldError: a field is missing, not an integer, or out of range.
    """
    columns = read_uniform_rows(memoryview(rows), fields)
    if columns is None:
        columns = _read_any_rows(rows, fields, path)
    for field, column, least in zip(fields, columns, minimum, strict=True):
        if least > INT64_MIN and len(column) and int(column.min()) < least:
            row = int(np.argmax(column < least))
            integer(int(column[row]), f"{path}[{row}].{field}", least)
    return columns


def _read_any_rows(rows: msgspec.Raw, fields: Sequence[str], path: str) -> tuple[Int64Array, ...]:
    """Read rows however they are written, and find out what is wrong with them."""
    try:
        decoded = _decoder(tuple(fields)).decode(rows)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        place = place.rstrip("`")
        raise FieldError(path + place, value_at(rows, place), message) from error
    return tuple(
        int64_column(list(map(attrgetter(field), decoded)), f"{path}[{{}}].{field}", INT64_MIN)
        for field in fields
    )


@cache
def _decoder(fields: tuple[str, ...]) -> msgspec.json.Decoder[list[msgspec.Struct]]:
    row = msgspec.defstruct("Row", [(field, Number) for field in fields], gc=False)
    return msgspec.json.Decoder(list[row], strict=False)  # type: ignore[valid-type]
