"""Changing one label, and what is left of its history."""

from __future__ import annotations

import pytest

from valmon_pipeline.errors import StorageError
from valmon_pipeline.frames import validate
from valmon_pipeline.storage.queries import (
    Label,
    close_label,
    label_history,
    labels_of,
    set_label,
)
from valmon_pipeline.storage.warehouse import Warehouse


def history(warehouse: Warehouse, validator: int) -> list[tuple[str, int, int | None]]:
    rows = validate("validator_labels", label_history(warehouse, [validator]))
    return [
        (value, first, None if until is None else int(until))
        for value, first, until in zip(
            rows["value"],
            rows["from_epoch"],
            rows["until_epoch"].astype(object).where(rows["until_epoch"].notna(), None),
            strict=True,
        )
    ]


def test_a_label_that_changes_keeps_its_history(warehouse: Warehouse) -> None:
    set_label(warehouse, 0, "operator", "a", 0)
    changed = set_label(warehouse, 0, "operator", "b", 7)
    assert changed == Label(0, "operator", "b", 7, None)
    assert history(warehouse, 0) == [("a", 0, 7), ("b", 7, None)]
    assert [label.value for label in labels_of(warehouse, 0, 6)] == ["a"]
    assert [label.value for label in labels_of(warehouse, 0, 7)] == ["b"]
    assert [label.value for label in labels_of(warehouse, 0)] == ["b"]


def test_setting_what_holds_changes_nothing(warehouse: Warehouse) -> None:
    first = set_label(warehouse, 0, "operator", "a", 3)
    assert set_label(warehouse, 0, "operator", "a", 9) == first
    assert history(warehouse, 0) == [("a", 3, None)]


def test_of_two_changes_in_an_epoch_the_last_is_left(warehouse: Warehouse) -> None:
    set_label(warehouse, 0, "operator", "a", 3)
    set_label(warehouse, 0, "operator", "b", 3)
    assert history(warehouse, 0) == [("b", 3, None)]


def test_a_label_can_end_and_come_back(warehouse: Warehouse) -> None:
    set_label(warehouse, 0, "operator", "a", 3)
    assert close_label(warehouse, 0, "operator", 5) == Label(0, "operator", "a", 3, 5)
    assert close_label(warehouse, 0, "operator", 6) is None
    assert labels_of(warehouse, 0) == []
    set_label(warehouse, 0, "operator", "a", 8)
    assert history(warehouse, 0) == [("a", 3, 5), ("a", 8, None)]
    assert close_label(warehouse, 0, "operator", 8) is None
    assert history(warehouse, 0) == [("a", 3, 5)]


def test_history_is_not_rewritten_and_stays_as_it_was(warehouse: Warehouse) -> None:
    set_label(warehouse, 0, "operator", "a", 3)
    set_label(warehouse, 0, "operator", "b", 7)
    before = history(warehouse, 0)
    with pytest.raises(StorageError, match="changed in epoch 7"):
        set_label(warehouse, 0, "operator", "c", 5)
    with pytest.raises(StorageError, match="would rewrite its history"):
        close_label(warehouse, 0, "operator", 6)
    with pytest.raises(StorageError, match="needs a category and a value"):
        set_label(warehouse, 0, "operator", "", 9)
    assert history(warehouse, 0) == before


def test_other_validators_and_categories_stay_as_they_are(warehouse: Warehouse) -> None:
    set_label(warehouse, 1, "operator", "x", 0)
    set_label(warehouse, 0, "region", "eu", 0)
    set_label(warehouse, 0, "operator", "a", 0)
    close_label(warehouse, 0, "operator", 4)
    assert history(warehouse, 1) == [("x", 0, None)]
    assert [label.category for label in labels_of(warehouse, 0)] == ["region"]
    assert len(label_history(warehouse)) == 3
