"""How far values would move is told by column, with examples."""

from __future__ import annotations

import pandas as pd

from valmon_pipeline.frames import contract_of
from valmon_pipeline.storage.moves import EXAMPLES, Move, Moves
from valmon_pipeline_tests.sample_frames import sample_frame

STANDINGS = contract_of("validator_standings")


def test_what_is_the_same_is_not_told() -> None:
    moves = Moves()
    moves.add(
        STANDINGS, 7, sample_frame("validator_standings"), sample_frame("validator_standings")
    )
    assert moves.by_column() == []


def test_another_version_alone_is_no_move() -> None:
    frame = sample_frame("validator_standings")
    moves = Moves()
    moves.add(STANDINGS, 7, frame, frame.assign(formula_version=frame["formula_version"] // 2))
    assert moves.by_column() == []


def test_numbers_tell_how_far_and_rows_add_up_over_epochs() -> None:
    moves = Moves()
    for epoch, shift in ((7, 2), (8, 5)):
        stored = sample_frame("validator_standings", epoch, rows=4)
        stored["missed_streak"] = pd.Series([0, 1, 2, 3], dtype="int32")
        new = stored.assign(missed_streak=stored["missed_streak"].replace({3: 3 + shift}))
        moves.add(STANDINGS, epoch, stored, new)
    (streak,) = moves.by_column()
    assert (streak.table, streak.column) == ("validator_standings", "missed_streak")
    assert (streak.rows, streak.moved, streak.largest) == (8, 2, 5.0)
    assert streak.examples == [Move(7, 3, "3", "5"), Move(8, 3, "3", "8")]


def test_examples_are_few_and_texts_have_no_distance() -> None:
    stored = sample_frame("validator_standings", rows=20)
    new = stored.assign(health="inactive", health_reasons="exited").astype(stored.dtypes.to_dict())
    moves = Moves()
    moves.add(STANDINGS, 7, stored, new)
    by_column = {column.column: column for column in moves.by_column()}
    assert by_column["health_reasons"].largest is None
    assert len(by_column["health_reasons"].examples) == EXAMPLES
    assert by_column["health_reasons"].examples[0].new == "exited"


def test_a_row_on_one_side_only_moves_from_or_to_null() -> None:
    whole = sample_frame("validator_standings", rows=3)
    moves = Moves()
    moves.add(STANDINGS, 7, whole.head(2), whole)
    streak = {column.column: column for column in moves.by_column()}["missed_streak"]
    assert streak.rows == 3
    assert streak.examples == [Move(7, 2, None, str(whole["missed_streak"][2]))]
    assert streak.largest is None
