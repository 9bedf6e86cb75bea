"""Groups by label: every grouping is a partition, and its sums add up to the total."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.scoring.groups import EVERYBODY, UNLABELLED, Groups, groups_in_epoch

EPOCH = 10
VALIDATORS = np.array([0, 2, 3, 5, 8])


def labels(*rows: tuple[int, str, int, str, int | None]) -> pd.DataFrame:
    names = ["validator_index", "category", "from_epoch", "value", "until_epoch"]
    frame = pd.DataFrame(list(rows), columns=names)
    return frame.astype({"until_epoch": "Int32"})


def members(groups: Groups) -> dict[tuple[str, str], list[int]]:
    parts = np.split(groups.rows, groups.starts[1:])
    return {name: part.tolist() for name, part in zip(groups.names, parts, strict=True)}


def test_without_labels_there_is_everybody() -> None:
    assert members(groups_in_epoch(VALIDATORS, labels(), EPOCH)) == {EVERYBODY: [0, 1, 2, 3, 4]}


def test_a_label_counts_in_the_epochs_it_holds_for() -> None:
    history = labels(
        (0, "operator", 0, "a", 10),
        (0, "operator", 10, "b", None),
        (2, "operator", 0, "a", 11),
        (3, "operator", 11, "a", None),
    )
    assert members(groups_in_epoch(VALIDATORS, history, EPOCH)) == {
        EVERYBODY: [0, 1, 2, 3, 4],
        ("operator", UNLABELLED): [2, 3, 4],
        ("operator", "a"): [1],
        ("operator", "b"): [0],
    }


def test_labels_of_validators_that_are_not_watched_make_no_group() -> None:
    groups = groups_in_epoch(VALIDATORS, labels((7, "operator", 0, "a", None)), EPOCH)
    assert members(groups)["operator", UNLABELLED] == [0, 1, 2, 3, 4]
    assert ("operator", "a") not in groups.names


def test_where_everybody_is_labelled_nobody_is_without() -> None:
    history = labels(*((index, "client", 0, "x", None) for index in VALIDATORS.tolist()))
    assert members(groups_in_epoch(VALIDATORS, history, EPOCH)) == {
        EVERYBODY: [0, 1, 2, 3, 4],
        ("client", "x"): [0, 1, 2, 3, 4],
    }


def test_of_nobody_there_is_no_group() -> None:
    groups = groups_in_epoch(np.zeros(0, np.int64), labels((1, "client", 0, "x", None)), EPOCH)
    assert groups.names == ()
    assert groups.total(np.zeros(0, np.int64)).tolist() == []


def test_a_sum_is_unknown_where_a_member_is() -> None:
    history = labels((0, "operator", 0, "a", None), (2, "operator", 0, "b", None))
    groups = groups_in_epoch(VALIDATORS, history, EPOCH)
    values = np.ma.MaskedArray([1, 2, 3, 4, 5], mask=[False, True, False, False, False])
    total = groups.total(values)
    assert dict(zip(groups.names, total.tolist(), strict=True)) == {
        EVERYBODY: None,
        ("operator", UNLABELLED): 12,
        ("operator", "a"): 1,
        ("operator", "b"): None,
    }


ROWS = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.sampled_from(["operator", "region"]),
        st.sampled_from("abc"),
        st.booleans(),
    ),
    max_size=30,
    unique_by=lambda row: (row[0], row[1]),
)


@given(
    st.lists(st.integers(0, 9), unique=True, max_size=10),
    ROWS,
    st.lists(st.integers(-(2**52), 2**52), min_size=10, max_size=10),
)
def test_any_grouping_sums_to_the_total(
    watched: list[int], rows: list[tuple[int, str, str, bool]], amounts: list[int]
) -> None:
    validators = np.array(sorted(watched), dtype=np.int64)
    history = labels(
        *(
            (index, category, 0, value, None if holds else 5)
            for index, category, value, holds in rows
        )
    )
    groups = groups_in_epoch(validators, history, EPOCH)
    gwei = np.array(amounts, dtype=np.int64)[: len(validators)]
    of_group: dict[tuple[str, str], Any] = dict(
        zip(groups.names, groups.total(gwei).tolist(), strict=True)
    )
    shares = dict(zip(groups.names, groups.total(gwei / 2**53).tolist(), strict=True))
    for category in {category for category, _ in groups.names}:
        values = [name for name in groups.names if name[0] == category]
        assert sum(of_group[name] for name in values) == int(gwei.sum())
        assert sum(shares[name] for name in values) == pytest.approx(float((gwei / 2**53).sum()))
        flat = [row for name in values for row in members(groups)[name]]
        assert sorted(flat) == list(range(len(validators)))
