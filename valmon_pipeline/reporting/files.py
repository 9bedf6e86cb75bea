"""Report rows as CSV and Parquet: whole numbers stay whole, NULL is empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

_WEIGHT = "DECIMAL(38, 0)"
"""Balances summed up over epochs outgrow 64 bits."""


def to_csv(groups: pd.DataFrame) -> str:
    """The rows as CSV with a header."""
    text: str = groups.to_csv(index=False, lineterminator="\n")
    return text


def write_parquet(groups: pd.DataFrame, path: Path) -> None:
    """Write the rows to a Parquet file: BIGINT, DOUBLE, VARCHAR, and DECIMAL for weights."""
    import duckdb

    columns = ", ".join(f'"{name}" {_type(groups[name])}' for name in groups.columns)
    marks = ", ".join("?" for _ in groups.columns)
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE report ({columns})")
        for row in groups.astype(object).itertuples(index=False, name=None):
            values = [None if pd.isna(value) else value for value in row]
            connection.execute(f"INSERT INTO report VALUES ({marks})", values)  # noqa: S608
        connection.table("report").write_parquet(str(path))


def _type(column: pd.Series[Any]) -> str:
    kind = str(column.dtype)
    if kind == "str":
        return "VARCHAR"
    if kind == "float64":
        return "DOUBLE"
    return _WEIGHT if kind == "object" else "BIGINT"
