"""Reading rows into frames with the exact types of a table's contract.

Large tables have fixed-width columns only, so their rows come as one binary COPY stream that NumPy
reads in place: NULLs travel as a placeholder beside an IS NULL flag, enumerations as positions in
the contract's list. Columns of free text have no fixed width; only small tables have them, and
those are fetched row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pa
import sqlalchemy as sa
from psycopg import sql

from valmon_pipeline.frames import TableContract, conform
from valmon_pipeline.frames.columns import UTC_MICROSECONDS
from valmon_pipeline.frames.contract import is_strictly_ascending
from valmon_pipeline.storage.binary_copy import HEADER, POSTGRES_EPOCH_MICROSECONDS
from valmon_pipeline.storage.database import driver_connection


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows: ``column = ANY(values)`` for every entry; no entry, all rows."""

    conditions: Mapping[str, Sequence[int]]

    def where(self) -> tuple[sql.Composable, list[list[int]]]:
        """The WHERE clause and its parameters."""
        if not self.conditions:
            return sql.SQL(""), []
        parts = [
            sql.SQL("{} = ANY(%s::integer[])").format(sql.Identifier(column))
            for column in self.conditions
        ]
        values = [[int(value) for value in wanted] for wanted in self.conditions.values()]
        return sql.SQL(" WHERE ") + sql.SQL(" AND ").join(parts), values


def read_table(
    connection: sa.Connection,
    schema: str,
    contract: TableContract,
    columns: Sequence[str],
    selection: Selection,
) -> pd.DataFrame:
    """The selected rows, in key order, with ``columns`` in the order asked for."""
    wanted = list(dict.fromkeys([*contract.key, *columns]))
    has_text = any(isinstance(_dtype(contract, name), pd.StringDtype) for name in wanted)
    if has_text:
        frame = _fetch(connection, schema, contract, selection)
    else:
        frame = _copy(connection, schema, contract, wanted, selection)
    if not is_strictly_ascending(frame, contract.key):
        frame = frame.sort_values(list(contract.key), ignore_index=True)
    return frame[list(columns)]


def _fetch(
    connection: sa.Connection, schema: str, contract: TableContract, selection: Selection
) -> pd.DataFrame:
    where, parameters = selection.where()
    query = sql.SQL("SELECT {} FROM {}{}").format(
        sql.SQL(", ").join(map(sql.Identifier, contract.columns)),
        sql.Identifier(schema, contract.name),
        where,
    )
    with driver_connection(connection).cursor() as cursor:
        rows = cursor.execute(query, parameters).fetchall()
    columns = zip(*rows, strict=True) if rows else ((),) * len(contract.columns)
    return conform(
        contract.name,
        {
            name: _with_mask(contract.schema.columns[name], values)
            for name, values in zip(contract.columns, columns, strict=True)
        },
    )


def _with_mask(column: pa.Column, values: Sequence[Any]) -> Any:
    """Python values as ``conform`` takes them: None becomes masked."""
    assert column.dtype is not None
    dtype = column.dtype.type
    if isinstance(dtype, pd.DatetimeTZDtype):
        return pd.Series(pd.to_datetime(list(values), utc=True), dtype=UTC_MICROSECONDS)
    if isinstance(dtype, pd.StringDtype):
        return pd.Series(list(values), dtype="str")
    if isinstance(dtype, pd.CategoricalDtype) or dtype == np.dtype("object"):
        result = np.empty(len(values), dtype=object)
        result[:] = values
        return result
    mask = [value is None for value in values]
    filled = [0 if value is None else value for value in values]
    plain = np.dtype(dtype.type) if isinstance(dtype, pd.api.extensions.ExtensionDtype) else dtype
    return np.ma.array(np.asarray(filled, dtype=plain), mask=mask)


@dataclass(frozen=True, slots=True)
class _Part:
    """One expression of the SELECT list and its type in the stream."""

    expression: sql.Composable
    dtype: str


def _copy(
    connection: sa.Connection,
    schema: str,
    contract: TableContract,
    columns: Sequence[str],
    selection: Selection,
) -> pd.DataFrame:
    parts = {name: _parts(name, contract.schema.columns[name]) for name in columns}
    where, parameters = selection.where()
    query = sql.SQL("COPY (SELECT {} FROM {}{}) TO STDOUT (FORMAT binary)").format(
        sql.SQL(", ").join(part.expression for listed in parts.values() for part in listed),
        sql.Identifier(schema, contract.name),
        where,
    )
    with (
        driver_connection(connection).cursor() as cursor,
        cursor.copy(query, parameters) as copy,
    ):
        stream = b"".join(copy)
    layout: list[tuple[str, Any]] = [("count", ">i2")]
    for name, listed in parts.items():
        for number, part in enumerate(listed):
            layout += [(f"length {name} {number}", ">i4"), (f"{name} {number}", part.dtype)]
    dtype = np.dtype(layout)
    rows = (len(stream) - len(HEADER) - 2) // dtype.itemsize
    array = np.frombuffer(stream, dtype=dtype, count=rows, offset=len(HEADER))
    return pd.DataFrame(
        {name: _column(array, name, contract.schema.columns[name]) for name in columns}, copy=False
    )


def _parts(name: str, column: pa.Column) -> list[_Part]:
    identifier = sql.Identifier(name)
    metadata = column.metadata or {}
    if "categories" in metadata:
        names = sql.SQL(", ").join(sql.Literal(value) for value in metadata["categories"])
        position = sql.SQL("array_position(ARRAY[{}]::text[], {})::smallint").format(
            names, identifier
        )
        return [_Part(position, ">i2")]
    stream_type = _stream_type(column)
    if not column.nullable:
        return [_Part(identifier, stream_type)]
    if stream_type == ">f8":
        return [_Part(sql.SQL("coalesce({}, 'NaN')").format(identifier), stream_type)]
    filler: sql.Composable
    if "length" in metadata:
        filler = sql.Literal(bytes(metadata["length"]))
    else:
        filler = sql.SQL("false") if stream_type == "?" else sql.SQL("0")
    return [
        _Part(sql.SQL("coalesce({}, {})").format(identifier, filler), stream_type),
        _Part(sql.SQL("{} IS NULL").format(identifier), "?"),
    ]


def _stream_type(column: pa.Column) -> str:
    assert column.dtype is not None
    dtype = column.dtype.type
    if "length" in (column.metadata or {}):
        return f"V{column.metadata['length']}"
    if isinstance(dtype, pd.DatetimeTZDtype):
        return ">i8"
    kind = np.dtype(dtype.type) if isinstance(dtype, pd.api.extensions.ExtensionDtype) else dtype
    return {"int32": ">i4", "int64": ">i8", "bool": "?", "float64": ">f8"}[str(kind)]


def _column(array: npt.NDArray[Any], name: str, column: pa.Column) -> Any:
    assert column.dtype is not None
    dtype = column.dtype.type
    values = array[f"{name} 0"]
    metadata = column.metadata or {}
    if "categories" in metadata:
        names = pd.Index(list(metadata["categories"]))
        # SQL arrays count from 1.
        return pd.Categorical.from_codes(values.astype(np.int64) - 1, categories=names)
    if "length" in metadata:
        result = np.empty(len(values), dtype=object)
        result[:] = values.tolist()
        if column.nullable:
            result[array[f"{name} 1"]] = None
        return result
    if isinstance(dtype, pd.DatetimeTZDtype):
        moments = (values.astype(np.int64) + POSTGRES_EPOCH_MICROSECONDS).astype("datetime64[us]")
        return pd.Series(moments).dt.tz_localize("UTC")
    native = values.astype(values.dtype.newbyteorder("="))
    if not column.nullable or native.dtype.kind == "f":
        return native
    absent = array[f"{name} 1"].astype(np.bool_)
    if native.dtype.kind == "b":
        return pd.arrays.BooleanArray(native, absent)
    return pd.arrays.IntegerArray(native, absent)


def _dtype(contract: TableContract, name: str) -> Any:
    dtype = contract.schema.columns[name].dtype
    assert dtype is not None
    return dtype.type
