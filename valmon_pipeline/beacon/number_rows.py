"""Lists of objects that hold nothing but integers, decoded straight into int64 columns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from operator import attrgetter

import msgspec

from valmon_pipeline.beacon.columns import int64_column
from valmon_pipeline.beacon.schemas import Number
from valmon_pipeline.chain.registry import Int64Array


def decode_number_rows(
    rows: msgspec.Raw, fields: Sequence[str], path: str, *, minimum: Sequence[int]
) -> tuple[Int64Array, ...]:
    """Return one column per field of a JSON list of objects.

    ``path`` names the list in errors; ``minimum`` is the smallest value allowed per field. Other
    fields of the objects are ignored.

    Raises:
        FieldError: a value is not an integer, or out of range.
        msgspec.ValidationError: a field is missing, or not a number at all.
    """
    decoded = _decoder(tuple(fields)).decode(rows)
    return tuple(
        int64_column(list(map(attrgetter(field), decoded)), f"{path}[{{}}].{field}", least)
        for field, least in zip(fields, minimum, strict=True)
    )


@cache
def _decoder(fields: tuple[str, ...]) -> msgspec.json.Decoder[list[msgspec.Struct]]:
    row = msgspec.defstruct("Row", [(field, Number) for field in fields], gc=False)
    return msgspec.json.Decoder(list[row], strict=False)  # type: ignore[valid-type]
