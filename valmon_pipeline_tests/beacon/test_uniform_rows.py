"""The fast reader against the general one: it may decline, but never read anything differently."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.beacon.uniform_rows import read_uniform_rows

FIELDS = ("validator_index", "reward")

integers = st.one_of(
    st.integers(-(10**15) + 1, 10**15 - 1),
    st.integers(0, 999),
    st.sampled_from([10**7, 10**8 - 1, 10**8, 10**14, -(10**8)]),
)


def encoded(rows: list[tuple[int, int]], *, between: bytes = b"") -> bytes:
    return b"[%b]" % b",".join(
        b'{"validator_index":"%d",%b"reward":"%d"}' % (index, between, reward)
        for index, reward in rows
    )


@given(st.lists(st.tuples(integers, integers), min_size=2, max_size=40))
def test_columns_are_what_was_written(rows: list[tuple[int, int]]) -> None:
    columns = read_uniform_rows(memoryview(encoded(rows)), FIELDS)
    assert columns is not None
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == rows


def test_many_rows_with_fields_nobody_wants() -> None:
    rows = [(n, (-1) ** n * n * 1_000_003) for n in range(40_000)]
    text = encoded(rows, between=b'"inclusion_delay":"12345678901","x":"-7",')
    columns = read_uniform_rows(memoryview(text), FIELDS)
    assert columns is not None
    assert np.array_equal(np.stack(columns, axis=1), np.array(rows))


@given(
    st.lists(st.tuples(integers, integers), min_size=2, max_size=6),
    st.data(),
)
def test_a_changed_byte_is_read_as_changed_or_not_at_all(
    rows: list[tuple[int, int]], data: st.DataObject
) -> None:
    text = bytearray(encoded(rows))
    position = data.draw(st.integers(0, len(text) - 1))
    text[position] = data.draw(st.sampled_from(b'0123456789-+.eE"{}[],: \\x\xff'))
    columns = read_uniform_rows(memoryview(bytes(text)), FIELDS)
    if columns is not None:
        decoded = msgspec.json.decode(bytes(text), type=list[dict[str, str]])
        for field, column in zip(FIELDS, columns, strict=True):
            assert column.tolist() == [int(row[field]) for row in decoded]


@given(st.lists(st.tuples(integers, integers), min_size=2, max_size=4), st.data())
def test_a_truncated_text_is_declined(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    text = encoded(rows)
    cut = data.draw(st.integers(0, len(text) - 1))
    assert read_uniform_rows(memoryview(text[:cut]), FIELDS) is None


@pytest.mark.parametrize("value", ["1.0", "1e3", "01", "", "-", "+1", "1" * 16, "0x1", " 1"])
@pytest.mark.parametrize("row", [0, 1, 2])
def test_other_numbers_are_declined_in_every_row(value: str, row: int) -> None:
    rows = [{"validator_index": "1", "reward": "2"} for _ in range(3)]
    rows[row]["reward"] = value
    assert read_uniform_rows(memoryview(msgspec.json.encode(rows)), FIELDS) is None


def test_missing_fields_and_short_lists_are_declined() -> None:
    assert read_uniform_rows(memoryview(b"[]"), FIELDS) is None
    assert read_uniform_rows(memoryview(encoded([(1, 2)])), FIELDS) is None
    assert read_uniform_rows(memoryview(encoded([(1, 2), (3, 4)])), ("penalty",)) is None
