"""The kinds of column that tables are made of; every column of every table is one of these.

A kind fixes three things at once: the type in memory, the type in PostgreSQL (``storage.tables``)
and the checks a value must pass. NULL is the masked value of ``Int32``/``Int64``/``boolean``, NaN
in ``float64``, text and enumerations, None in binary columns, NaT in moments. Days are never NULL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
import pandera.pandas as pa

UTC_MICROSECONDS: Final = pd.DatetimeTZDtype("us", "UTC")

ROOT_LENGTH: Final = 32
PUBKEY_LENGTH: Final = 48


def integer(description: str, *, nullable: bool = False, maximum: int | None = None) -> pa.Column:
    """A count, slot, epoch or index: 32 bits, never negative."""
    return pa.Column(
        pd.Int32Dtype() if nullable else "int32",
        [pa.Check.ge(0, error="at least 0"), *_at_most(maximum)],
        nullable=nullable,
        description=_text(description),
    )


def gwei(description: str, *, nullable: bool = False, signed: bool = False) -> pa.Column:
    """An amount in gwei: 64 bits, negative only where ``signed``."""
    return pa.Column(
        pd.Int64Dtype() if nullable else "int64",
        [] if signed else [pa.Check.ge(0, error="at least 0")],
        nullable=nullable,
        description=_text(description),
    )


def long_integer(description: str) -> pa.Column:
    """A number that is not an amount but needs 64 bits, such as a Unix time."""
    return gwei(description)


def real(description: str, *, minimum: float | None = 0.0) -> pa.Column:
    """A sum of shares or another number without unit: 64-bit float, finite, never NULL."""
    lower = [] if minimum is None else [pa.Check.ge(minimum, error=f"at least {minimum:g}")]
    return pa.Column("float64", [*lower, _is_finite()], description=_text(description))


def flag(description: str, *, nullable: bool = False) -> pa.Column:
    """True or false."""
    return pa.Column(
        pd.BooleanDtype() if nullable else "bool", nullable=nullable, description=_text(description)
    )


def ratio(
    description: str, *, minimum: float | None = 0.0, maximum: float | None = 1.0
) -> pa.Column:
    """A share, of 0 to 1 unless said otherwise; NULL when there was nothing to divide by."""
    lower = [] if minimum is None else [pa.Check.ge(minimum, error=f"at least {minimum:g}")]
    upper = [] if maximum is None else [pa.Check.le(maximum, error=f"at most {maximum:g}")]
    return pa.Column(
        "float64",
        [*lower, *upper, _is_finite()],
        nullable=True,
        description=_text(description),
    )


def binary(description: str, length: int, *, nullable: bool = False) -> pa.Column:
    """Bytes of one fixed length: a root, a public key, withdrawal credentials."""
    return pa.Column(
        "object",
        pa.Check(
            lambda values: _has_length(values, length),
            name=f"is_{length}_bytes",
            error=f"{length} bytes",
        ),
        nullable=nullable,
        description=_text(description),
        metadata={"length": length},
    )


def enumeration(description: str, values: Sequence[str], *, nullable: bool = False) -> pa.Column:
    """One of a few names, categorical in memory."""
    return pa.Column(
        pa.Category(list(values), ordered=False),
        nullable=nullable,
        description=_text(description),
        metadata={"categories": tuple(values)},
    )


def text(description: str, *, nullable: bool = False) -> pa.Column:
    """Free text. Tables with such a column are small (see ``storage.table_reader``)."""
    return pa.Column("str", nullable=nullable, description=_text(description))


def moment(description: str, *, nullable: bool = False) -> pa.Column:
    """An instant in UTC, to the microsecond."""
    return pa.Column(UTC_MICROSECONDS, nullable=nullable, description=_text(description))


def day(description: str) -> pa.Column:
    """A day in UTC; in memory, the naive moment it starts at."""
    return pa.Column(
        "datetime64[ns]",
        pa.Check(
            lambda values: values.dt.normalize().eq(values),
            name="is_midnight",
            error="a day without a time",
        ),
        description=_text(description),
    )


def _at_most(maximum: int | None) -> list[pa.Check]:
    return [] if maximum is None else [pa.Check.le(maximum, error=f"at most {maximum}")]


def _is_finite() -> pa.Check:
    return pa.Check(
        lambda values: pd.Series(~np.isinf(values.to_numpy()), index=values.index),
        name="is_finite",
        error="finite",
    )


def _has_length(values: pd.Series, length: int) -> pd.Series:
    """Whether each value is ``bytes`` of ``length``; pandera drops NULLs before it calls checks."""
    if pd.api.types.infer_dtype(values, skipna=True) != "bytes":
        return values.map(_length_or_none).eq(length)
    return values.map(len).eq(length)


def _length_or_none(value: object) -> int | None:
    return len(value) if isinstance(value, bytes) else None


def _text(description: str) -> str:
    """One line: descriptions become SQL comments and table cells."""
    return re.sub(r"\s+", " ", description).strip()
