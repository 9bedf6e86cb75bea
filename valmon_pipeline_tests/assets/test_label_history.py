"""Labels keep their history: what was said of the past stays said."""

from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.assets.label_history import merge_labels, no_labels
from valmon_pipeline.frames import validate

Labels = dict[tuple[int, str], str]
Change = tuple[Labels, int]

NOTHING = no_labels()
LABELS = st.dictionaries(
    st.tuples(st.integers(0, 2), st.sampled_from(["operator", "region"])), st.sampled_from("abc")
)
CHANGES = st.lists(st.tuples(LABELS, st.integers(0, 9)), max_size=6)


def merged(changes: list[Change], stored: pd.DataFrame = NOTHING) -> pd.DataFrame:
    for labels, epoch in changes:
        wanted = [(index, category, value) for (index, category), value in labels.items()]
        stored = merge_labels(stored, wanted, epoch)
    return stored


def holding(frame: pd.DataFrame, epoch: int) -> Labels:
    """What holds in an epoch; two values of one category at once would be an error."""
    holds = (frame["from_epoch"] <= epoch) & (frame["until_epoch"] > epoch).fillna(True)
    rows = frame[holds]
    keys = list(zip(rows["validator_index"].tolist(), rows["category"].tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, rows["value"].tolist(), strict=True))


def rows(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    columns = ["from_epoch", "value", "until_epoch"]
    return [
        tuple(None if pd.isna(value) else value for value in row)
        for row in frame[columns].itertuples(index=False)
    ]


def operator(value: str) -> Labels:
    return {(0, "operator"): value}


def test_a_first_label_holds_from_the_first_epoch() -> None:
    assert rows(merged([(operator("a"), 70)])) == [(0, "a", None)]


def test_a_move_counts_for_the_old_operator_before_and_the_new_one_since() -> None:
    history = merged([(operator("a"), 5), (operator("b"), 70)])
    assert rows(history) == [(0, "a", 70), (70, "b", None)]
    assert holding(history, 69) == operator("a")
    assert holding(history, 70) == operator("b")


def test_a_label_that_is_removed_ends_and_may_come_back() -> None:
    removed = merged([(operator("a"), 5), ({}, 70)])
    assert rows(removed) == [(0, "a", 70)]
    assert rows(merged([(operator("a"), 90)], removed)) == [(0, "a", 70), (90, "a", None)]


def test_a_removal_taken_back_in_the_same_epoch_never_happened() -> None:
    history = merged([(operator("a"), 5), ({}, 70), (operator("a"), 70)])
    assert rows(history) == [(0, "a", None)]


def test_the_last_of_several_changes_in_an_epoch_is_left() -> None:
    first = merged([(operator("a"), 5)])
    assert rows(merged([(operator("b"), 70), (operator("c"), 70)], first)) == [
        (0, "a", 70),
        (70, "c", None),
    ]
    assert rows(merged([(operator("b"), 70), (operator("a"), 70)], first)) == [(0, "a", None)]


def test_a_node_that_is_behind_does_not_rewrite_what_was_changed_before() -> None:
    history = merged([(operator("a"), 5), (operator("b"), 70), (operator("c"), 60)])
    assert rows(history) == [(0, "a", 70), (70, "c", None)]


def test_validator_0_has_labels_like_any_other() -> None:
    history = merged([({(0, "operator"): "a", (1, "operator"): "b"}, 3)])
    assert holding(history, 3) == {(0, "operator"): "a", (1, "operator"): "b"}


@given(CHANGES)
def test_ranges_never_overlap_and_the_frame_keeps_its_contract(changes: list[Change]) -> None:
    history = validate("validator_labels", merged(changes))
    for epoch in range(12):
        holding(history, epoch)
    for _, part in history.groupby(["validator_index", "category"]):
        ends = part["until_epoch"].tolist()
        assert all(end <= start for end, start in zip(ends, part["from_epoch"][1:], strict=False))


@given(CHANGES, LABELS, st.integers(0, 9))
def test_what_is_wanted_holds_from_now_on(changes: list[Change], wanted: Labels, at: int) -> None:
    latest = max([at, *(epoch for _, epoch in changes)])
    history = merged([*changes, (wanted, at)])
    assert holding(history, latest) == holding(history, 10**6) == wanted


@given(CHANGES, LABELS, st.integers(0, 9))
def test_the_past_is_not_rewritten(changes: list[Change], wanted: Labels, at: int) -> None:
    before = merged(changes)
    after = merged([(wanted, at)], before)
    for epoch in range(at):
        held, holds = holding(before, epoch), holding(after, epoch)
        assert held.items() <= holds.items()
        # Only validators that never had a label of the category get one for the past.
        known = set(zip(before["validator_index"], before["category"], strict=True))
        assert not known & (holds.keys() - held.keys())


@given(CHANGES, LABELS, st.integers(0, 9))
def test_refreshing_twice_changes_nothing(changes: list[Change], wanted: Labels, at: int) -> None:
    once = merged([*changes, (wanted, at)])
    pd.testing.assert_frame_equal(merged([(wanted, at)], once), once)


@given(CHANGES, LABELS, LABELS)
def test_of_two_changes_in_an_epoch_the_last_is_left(
    changes: list[Change], first: Labels, last: Labels
) -> None:
    stored = merged(changes)
    known = set(zip(stored["validator_index"], stored["category"], strict=True))
    # A label of a category that a validator never had before is a first label.
    first = {key: value for key, value in first.items() if key in known}
    at = max([0, *(epoch for _, epoch in changes)])
    twice = merged([(first, at), (last, at)], stored)
    pd.testing.assert_frame_equal(twice, merged([(last, at)], stored))
