"""The COPY stream, taken apart field by field as PostgreSQL's manual describes it."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.storage import binary_copy as module
from valmon_pipeline.storage.binary_copy import (
    HEADER,
    TRAILER,
    array_field,
    binary_copy,
    copied_rows,
)

Fields = list[list[bytes | None]]


def rows_of(stream: bytes) -> Fields:
    """The fields of each row, None for NULL."""
    assert stream.startswith(HEADER)
    position, rows = len(HEADER), []
    while stream[position : position + 2] != TRAILER:
        (count,) = struct.unpack_from(">h", stream, position)
        position += 2
        fields: list[bytes | None] = []
        for _ in range(count):
            (length,) = struct.unpack_from(">i", stream, position)
            position += 4
            fields.append(None if length == -1 else stream[position : position + length])
            position += max(length, 0)
        rows.append(fields)
    assert position + 2 == len(stream)
    return rows


def rows_of_frame(frame: pd.DataFrame) -> Fields:
    return rows_of(b"".join(binary_copy(frame)))


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=30))
def test_integers_and_nulls(values: list[int | None]) -> None:
    frame = pd.DataFrame({"a": pd.array(values, dtype="Int64")})
    expected = [None if value is None else struct.pack(">q", value) for value in values]
    assert rows_of_frame(frame) == [[field] for field in expected]


@given(st.lists(st.none() | st.binary(max_size=40), max_size=30))
def test_bytes_of_any_length(values: list[bytes | None]) -> None:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    assert rows_of_frame(pd.DataFrame({"a": column})) == [[value] for value in values]


@given(st.lists(st.text(max_size=20), max_size=30))
def test_text_is_utf_8(values: list[str]) -> None:
    # PostgreSQL and UTF-8 know no lone surrogates; hypothesis does not make them.
    frame = pd.DataFrame({"a": pd.Series(values, dtype="str")})
    assert rows_of_frame(frame) == [[value.encode()] for value in values]


@given(st.lists(st.floats(width=64), max_size=30))
def test_floats_are_exact_and_nan_is_null(values: list[float]) -> None:
    frame = pd.DataFrame({"a": np.asarray(values, dtype=np.float64)})
    expected = [None if value != value else struct.pack(">d", value) for value in values]
    assert rows_of_frame(frame) == [[field] for field in expected]


@given(st.lists(st.sampled_from(["a", "longer", ""]), max_size=30))
def test_categories_are_their_names(values: list[str]) -> None:
    column = pd.Categorical(values, categories=["longer", "a", ""])
    frame = pd.DataFrame({"a": column})
    assert rows_of_frame(frame) == [[value.encode()] for value in values]


@given(st.lists(st.timedeltas(timedelta(days=-36_500), timedelta(days=73_000)), max_size=10))
def test_moments_count_from_2000(since: list[timedelta]) -> None:
    moments = [datetime(2000, 1, 1, tzinfo=UTC) + delta for delta in since]
    frame = pd.DataFrame({"a": pd.Series(moments, dtype="datetime64[us, UTC]")})
    expected = [struct.pack(">q", delta // timedelta(microseconds=1)) for delta in since]
    assert rows_of_frame(frame) == [[field] for field in expected]


def test_chunks_of_any_size_make_the_same_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame(
        {
            "a": np.arange(100, dtype=np.int32),
            "b": pd.array([None if row % 3 else row for row in range(100)], dtype="Int32"),
            "c": pd.Series(["x" * (row % 7) for row in range(100)], dtype="str"),
        }
    )
    whole = b"".join(binary_copy(frame))
    for size in (1, 100, 1000):
        monkeypatch.setattr(module, "CHUNK_BYTES", size)
        pieces = list(binary_copy(frame))
        assert b"".join(pieces) == whole
    assert len(pieces) > 3


def test_memory_of_a_chunk_is_bounded_by_its_widest_value() -> None:
    frame = pd.DataFrame({"a": pd.Series(["x" * 2**20] + ["y"] * 20, dtype="str")})
    assert max(map(len, binary_copy(frame))) < 2 * module.CHUNK_BYTES


def test_a_type_that_no_table_uses_is_refused() -> None:
    with pytest.raises(TypeError, match="column a has type complex128"):
        list(binary_copy(pd.DataFrame({"a": [1j]})))


@pytest.mark.parametrize(
    ("kind", "dtype"), [("smallint", "i2"), ("integer", "i4"), ("bigint", "i8")]
)
def test_a_matrix_arrives_as_arrays(database_url: str, kind: str, dtype: str) -> None:
    limits = np.iinfo(dtype)
    matrix = np.array([[limits.min, 0, limits.max], [1, -1, 258]], dtype=dtype)
    with psycopg.connect(database_url) as connection:
        connection.execute(f"CREATE TEMP TABLE arrays (a {kind}[])".encode())
        with connection.cursor().copy("COPY arrays FROM STDIN (FORMAT binary)") as copy:
            for piece in (HEADER, *copied_rows([array_field(matrix)]), TRAILER):
                copy.write(piece)
        assert connection.execute("SELECT a FROM arrays").fetchall() == [
            ([*row],) for row in matrix.tolist()
        ]
