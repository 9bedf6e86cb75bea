"""What is accepted without pandera is what pandera accepts: for every table and rule, at its limits
and beyond them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valmon_pipeline.frames import TABLES, violations
from valmon_pipeline.frames.acceptance import obviously_keeps
from valmon_pipeline.frames.columns import integer
from valmon_pipeline.frames.contract import table
from valmon_pipeline_tests.sample_frames import sample_frame

INT64 = np.iinfo(np.int64)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("rows", [1, 20])
def test_frames_that_keep_their_contract_are_spared_pandera(name: str, rows: int) -> None:
    frame = sample_frame(name, rows=rows)
    assert violations(name, frame) == ()
    assert obviously_keeps(TABLES[name], frame)


@pytest.mark.parametrize("name", TABLES)
def test_a_frame_without_rows_is_accepted(name: str) -> None:
    frame = sample_frame(name).iloc[:0]
    assert violations(name, frame) == ()
    assert obviously_keeps(TABLES[name], frame)


@pytest.mark.parametrize("name", TABLES)
def test_both_say_the_same_of_every_spoiled_value(name: str) -> None:
    broken = 0
    for what, frame in with_other_values(name):
        keeps = violations(name, frame) == ()
        assert obviously_keeps(TABLES[name], frame) is keeps, what
        broken += not keeps
    assert broken


@pytest.mark.parametrize("name", TABLES)
def test_no_type_is_accepted_that_pandera_refuses(name: str) -> None:
    refused = 0
    for what, frame in with_other_types(name):
        keeps = violations(name, frame) == ()
        # pandera takes a column of Python strings for text; that is for it to say.
        assert keeps or not obviously_keeps(TABLES[name], frame), what
        refused += not keeps
    assert refused >= len(columns_unlike_each_other(name))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(TABLES)), st.data())
def test_both_say_the_same_when_values_trade_places(name: str, data: st.DataObject) -> None:
    """Rows with values of other rows break rules about whole rows, but not those of a column."""
    frame = sample_frame(name, seed=data.draw(st.integers(0, 50)))
    column = data.draw(st.sampled_from(TABLES[name].columns))
    order = data.draw(st.permutations(range(len(frame))))
    frame[column] = frame[column].take(order).reset_index(drop=True)
    assert obviously_keeps(TABLES[name], frame) is (violations(name, frame) == ())


@pytest.mark.parametrize("name", TABLES)
def test_a_key_twice_is_no_obvious_frame_in_any_order(name: str) -> None:
    frame = sample_frame(name)
    doubled = pd.concat([frame, frame.iloc[-1:]])
    assert violations(name, doubled)
    assert not obviously_keeps(TABLES[name], doubled)
    assert obviously_keeps(TABLES[name], frame.iloc[::-1])


@pytest.mark.parametrize("name", TABLES)
def test_columns_have_to_be_all_there_once_and_in_order(name: str) -> None:
    frame, contract = sample_frame(name), TABLES[name]
    columns = list(frame.columns)
    wrong = (
        frame[columns[:-1]],
        frame[[*columns[1:], columns[0]]],
        frame.assign(more=1),
        frame[[*columns, columns[-1]]],
    )
    for shape in wrong:
        assert not obviously_keeps(contract, shape)


def test_a_check_that_is_not_known_is_asked_of_pandera() -> None:
    even = pa.Column("int32", [pa.Check.ge(0), pa.Check(lambda values: values % 2 == 0)])
    contract = table("t", "T.", key=["epoch"], columns={"epoch": integer("E."), "even": even})
    epochs = pd.Series([1, 2], dtype="int32")
    for values, keeps in (([0, 2], True), ([0, 3], False), ([-2, 2], False)):
        frame = pd.DataFrame({"epoch": epochs, "even": pd.Series(values, dtype="int32")})
        assert obviously_keeps(contract, frame) is keeps


def columns_unlike_each_other(name: str) -> list[str]:
    """All columns; of a table of sums, which has dozens of the same type and rules, two of each."""
    columns = TABLES[name].schema.columns
    if len(columns) <= 40:
        return list(columns)
    alike: dict[str, list[str]] = {}
    for column, rules in columns.items():
        alike.setdefault(f"{rules.dtype} {rules.nullable} {rules.checks}", []).append(column)
    return [column for group in alike.values() for column in group[:2]]


def with_other_values(name: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The sample frame with another value in the middle of a column; some keep the contract."""
    frame = sample_frame(name)
    middle = len(frame) // 2
    for column in columns_unlike_each_other(name):
        values = frame[column]
        for value in _values_to_try(values):
            spoiled = values.copy()
            try:
                spoiled.iloc[middle] = value
            except (TypeError, ValueError, OverflowError):
                continue  # the type itself refuses it
            if spoiled.dtype == values.dtype:
                yield f"{name}.{column} = {value!r}", frame.assign(**{column: spoiled})


def with_other_types(name: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The sample frame with a column of another type."""
    frame = sample_frame(name)
    for column in columns_unlike_each_other(name):
        for other in _other_types(frame[column]):
            yield f"{name}.{column} as {other.dtype}", frame.assign(**{column: other})


def _values_to_try(values: pd.Series) -> list[Any]:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [None, *values.cat.categories]
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return [pd.NaT, pd.Timestamp("2026-11-25 12:34", tz="UTC")]
    if values.dtype == np.dtype("datetime64[ns]"):
        return [pd.NaT, pd.Timestamp("2026-11-25"), pd.Timestamp("2026-11-25 12:34")]
    if values.dtype == object:
        return [None, b"", bytes(32), bytes(48), bytes(33), "0" * 32, 32]
    if isinstance(values.dtype, pd.StringDtype):
        return [None, "", "text"]
    if values.dtype in (np.dtype("bool"), pd.BooleanDtype()):
        return [True, False, None]
    if values.dtype.kind == "f":
        return [np.nan, -np.inf, np.inf, -1e-9, -5.0, 0.0, 1.0, 1.0 + 1e-9, 5.0]
    return [None, -1, 0, 1, 2, 5, 2**31 - 1, INT64.max, INT64.min]


def _other_types(values: pd.Series) -> Iterator[pd.Series]:
    yield pd.Series(["text"] * len(values), dtype=object)
    yield pd.Series([None] * len(values), dtype=object)
    yield pd.Series(np.zeros(len(values)), dtype="float32")
    yield pd.Series(np.zeros(len(values), dtype=np.int16))
    if isinstance(values.dtype, pd.CategoricalDtype):
        names = list(values.cat.categories)
        yield values.cat.reorder_categories(names[::-1])
        yield values.cat.add_categories(["more"])
        yield values.cat.as_ordered()
        yield values.astype("str")
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        yield values.dt.tz_convert("Europe/Berlin")
        yield values.dt.tz_localize(None)
        yield values.dt.as_unit("ns")
