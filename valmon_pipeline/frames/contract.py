"""What a table promises: its columns, its key, and how it is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pandera.pandas as pa

Rule = Callable[[pd.DataFrame], pd.Series]
"""Maps a frame to one boolean per row, vectorised."""


@dataclass(frozen=True, slots=True)
class RowRule:
    """A rule over whole rows: ``holds`` says what ``rule`` finds true of each."""

    name: str
    holds: str
    rule: Rule = field(repr=False)

    def check(self) -> pa.Check:
        """The same as a check of pandera's."""
        return pa.Check(self.rule, name=self.name, error=self.holds)


@dataclass(frozen=True, slots=True)
class TableContract:
    """One table. ``key`` is unique and never NULL; rows are kept and read in its order.

    ``partitioned`` tables are split by epoch in the database. ``by_epoch`` tables (the key starts
    with ``epoch``) are written an epoch at a time, whether partitioned or not.

    ``replaced_by`` are the columns of the key that say which stored rows a new frame replaces: all
    with the same values of these columns. By default all rows of the epoch, or in tables that are
    not by epoch the row with the same key. A table that is also filled while the epoch goes on
    names more, so that rows of other slots stay.

    ``schema`` is the whole contract.

    Tables that ``outlives_retention`` marks keep their rows when retention drops the epochs.
    """

    name: str
    description: str
    key: tuple[str, ...]
    partitioned: bool
    schema: pa.DataFrameSchema = field(repr=False, hash=False)
    replaced_by: tuple[str, ...]
    outlives_retention: bool

    @property
    def by_epoch(self) -> bool:
        return self.key[0] == "epoch"

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.schema.columns)


def table(
    name: str,
    description: str,
    *,
    key: Sequence[str],
    columns: Mapping[str, pa.Column],
    partitioned: bool = True,
    checks: Sequence[RowRule] = (),
    replaced_by: Sequence[str] | None = None,
    outlives_retention: bool = False,
) -> TableContract:
    """Describe a table. ``checks`` compare columns with each other, row by row, vectorised."""
    unknown = [name for name in key if name not in columns]
    if unknown:
        raise ValueError(f"key columns {unknown} of table {name} are not among its columns")
    if replaced_by is None:
        replaced_by = key[:1] if key[0] == "epoch" else key
    if list(key[: len(replaced_by)]) != list(replaced_by):
        raise ValueError(
            f"rows of {name} are replaced by {replaced_by}, but its key does not start so"
        )
    rules = (_key_is_unique(tuple(key)), *checks)
    schema = pa.DataFrameSchema(
        dict(columns),
        checks=[rule.check() for rule in rules],
        strict=True,
        ordered=True,
        name=name,
        description=description,
    )
    return TableContract(
        name,
        description,
        tuple(key),
        partitioned,
        schema,
        tuple(replaced_by),
        outlives_retention,
    )


def rows_are(name: str, holds: str, rule: Rule) -> RowRule:
    """A rule over whole rows: ``rule`` maps the frame to one boolean per row, ``holds`` says
    it."""
    return RowRule(name, holds, rule)


def is_strictly_ascending(frame: pd.DataFrame, key: Sequence[str]) -> bool:
    """Whether the rows are in the order of ``key`` without repetition. One pass, no sort.

    NULLs and non-comparable columns give False: the caller then takes its slow path.
    """
    if len(frame) < 2:
        return True
    ascending = np.zeros(len(frame) - 1, dtype=np.bool_)
    undecided = np.ones(len(frame) - 1, dtype=np.bool_)
    for column in key:
        values = frame[column].to_numpy()
        if values.dtype.kind not in "iub":
            values = frame[column].to_numpy(dtype=object)
            if pd.api.types.infer_dtype(values) not in {"string", "bytes"}:
                return False
        ascending |= undecided & (values[1:] > values[:-1])
        undecided &= values[1:] == values[:-1]
    return bool(ascending.all())


def _key_is_unique(key: tuple[str, ...]) -> RowRule:
    def unique(frame: pd.DataFrame) -> pd.Series:
        if is_strictly_ascending(frame, key):
            return pd.Series(True, index=frame.index)
        return ~frame.duplicated(subset=list(key), keep=False)

    return RowRule("key_is_unique", f"one row per ({', '.join(key)})", unique)
