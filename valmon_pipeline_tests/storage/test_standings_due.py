"""The list of standings that are due: written with the facts, taken off with the standings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.errors import ContractViolationError
from valmon_pipeline.storage.standings_due import (
    MADE_FROM,
    MATERIALIZED_AGAIN,
    DueStandings,
    due_standings,
    spread_marks,
)
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.sample_frames import sample_frame
from valmon_pipeline_tests.stored_standings import replace_standings

WINDOW = 4


def store(
    warehouse: Warehouse,
    epochs: Sequence[int],
    *,
    finalized: bool = True,
    reason: str = MATERIALIZED_AGAIN,
) -> None:
    """Store epochs of which nothing matters but that they are there."""
    for epoch in epochs:
        frame = sample_frame("network_epochs", epoch).assign(finalized=finalized)
        warehouse.replace_epoch(epoch, {"network_epochs": frame}, correction_reason=reason)


def due(warehouse: Warehouse) -> list[DueStandings]:
    spread_marks(warehouse.database, WINDOW)
    return due_standings(warehouse.database)


def due_epochs(warehouse: Warehouse) -> list[int]:
    return [one.epoch for one in due(warehouse)]


def standings(epoch: int, *, complete: bool = True, seed: int = 1) -> pd.DataFrame:
    return sample_frame("validator_standings", epoch, rows=5, seed=seed).assign(
        window_complete=complete
    )


def make(warehouse: Warehouse, frames: dict[int, pd.DataFrame]) -> dict[int, int | None]:
    """Store these standings of the epochs that are due; corrections by epoch."""
    return {
        one.epoch: replace_standings(warehouse, one, frames[one.epoch])
        for one in due(warehouse)
        if one.epoch in frames
    }


@pytest.mark.parametrize("table", sorted(MADE_FROM))
def test_storing_what_standings_are_made_from_lists_the_epoch(
    warehouse: Warehouse, table: str
) -> None:
    warehouse.replace_epoch(7, {table: sample_frame(table)}, correction_reason="reorg")
    listed = warehouse.read("standings_due", columns=["epoch", "spreads", "reason"])
    assert listed.to_dict("records") == [{"epoch": 7, "spreads": True, "reason": "reorg"}]


def test_other_tables_list_nothing(warehouse: Warehouse) -> None:
    warehouse.replace_epoch(7, {"blocks": sample_frame("blocks")})
    warehouse.store_ahead(8, {"proposer_duties": sample_frame("proposer_duties", 8)})
    warehouse.replace_rows({"validator_snapshots": sample_frame("validator_snapshots", 8)})
    assert warehouse.read("standings_due").empty


def test_a_transaction_that_fails_lists_nothing(warehouse: Warehouse) -> None:
    broken = sample_frame("effectiveness_scores").assign(sync_effectiveness=2.0)
    with pytest.raises(ContractViolationError):
        warehouse.replace_epoch(7, {"effectiveness_scores": broken})
    assert warehouse.read("standings_due").empty


def test_an_epoch_makes_the_later_ones_due_whose_window_has_it(warehouse: Warehouse) -> None:
    store(warehouse, [3, 4, 6, 7, 8, 9, 12])
    assert due_epochs(warehouse) == [3, 4, 6, 7, 8, 9, 12]
    assert None not in make(warehouse, {epoch: standings(epoch) for epoch in range(13)}).values()
    store(warehouse, [5], reason="catch-up")
    found = due(warehouse)
    assert [one.epoch for one in found] == [5, 6, 7, 8]
    assert {one.reason for one in found} == {"catch-up"}


def test_the_nearest_change_is_the_reason(warehouse: Warehouse) -> None:
    store(warehouse, range(1, 8))
    store(warehouse, [2], reason="first")
    store(warehouse, [4], reason="second")
    reasons = {one.epoch: one.reason for one in due(warehouse)}
    assert [reasons[epoch] for epoch in (2, 3, 4)] == ["first", MATERIALIZED_AGAIN, "second"]


def test_spreading_twice_changes_nothing(warehouse: Warehouse) -> None:
    store(warehouse, range(1, 8))
    assert due(warehouse) == due(warehouse)


def test_what_is_stored_while_others_spread_is_not_lost(warehouse: Warehouse) -> None:
    store(warehouse, [1, 2])
    spread_marks(warehouse.database, WINDOW)
    store(warehouse, [1])
    # 1 is about to spread again: it is due by another mark, and 2 with it.
    before = {one.epoch: one.mark for one in due_standings(warehouse.database)}
    assert list(before) == [2]
    after = {one.epoch: one.mark for one in due(warehouse)}
    assert list(after) == [1, 2]
    assert after[2] > before[2]


def test_standings_made_from_older_facts_are_not_stored(warehouse: Warehouse) -> None:
    store(warehouse, [1, 2])
    read = due(warehouse)
    store(warehouse, [1])
    spread_marks(warehouse.database, WINDOW)
    assert [replace_standings(warehouse, one, standings(one.epoch)) for one in read] == [None, None]
    assert warehouse.read("validator_standings").empty
    assert due_epochs(warehouse) == [1, 2]


def test_two_makers_make_standings_once(warehouse: Warehouse) -> None:
    store(warehouse, [1])
    (mine,) = (theirs,) = due(warehouse)
    assert replace_standings(warehouse, mine, standings(1)) == 0
    assert replace_standings(warehouse, theirs, standings(1, seed=2)) is None
    pd.testing.assert_frame_equal(warehouse.read("validator_standings"), standings(1))
    assert due(warehouse) == []


def test_a_frame_of_another_epoch_is_refused_and_the_epoch_stays_due(warehouse: Warehouse) -> None:
    store(warehouse, [1])
    (one,) = due(warehouse)
    with pytest.raises(ContractViolationError, match="rows of other epochs"):
        replace_standings(warehouse, one, standings(2))
    assert due(warehouse) == [one]


def test_epochs_that_are_dropped_are_due_no_more(warehouse: Warehouse) -> None:
    store(warehouse, [1, 2])
    spread_marks(warehouse.database, WINDOW)
    with warehouse.database.transaction("drop") as connection:
        connection.exec_driver_sql(f"DELETE FROM {warehouse.schema}.network_epochs WHERE epoch = 1")
    assert due_epochs(warehouse) == [2]


class TestCorrections:
    """Invariant: a final row never changes without an entry."""

    def corrected(self, warehouse: Warehouse) -> pd.DataFrame:
        found = warehouse.read("corrections")
        return found[found["table_name"] == "validator_standings"]

    def changed(self, *, complete: bool) -> pd.DataFrame:
        frame = standings(1, complete=complete)
        longer = np.where(frame["validator_index"] == 3, 0, frame["missed_streak"])
        return frame.assign(missed_streak=longer.astype("int32"))

    def test_a_final_row_that_changes_is_entered_with_the_reason(
        self, warehouse: Warehouse
    ) -> None:
        store(warehouse, [1])
        make(warehouse, {1: standings(1)})
        store(warehouse, [1], reason="rescored with formula version 3")
        assert make(warehouse, {1: self.changed(complete=True)}) == {1: 1}
        (row,) = self.corrected(warehouse).to_dict("records")
        assert (row["epoch"], row["validator_index"], row["column_name"]) == (1, 3, "missed_streak")
        assert (row["old_value"], row["new_value"]) == ("3", "0")
        assert row["reason"] == "rescored with formula version 3"

    def test_rows_that_stay_as_they_are_need_no_entry(self, warehouse: Warehouse) -> None:
        store(warehouse, [1])
        make(warehouse, {1: standings(1)})
        store(warehouse, [1])
        same = standings(1).assign(formula_version=np.int32(9))
        assert make(warehouse, {1: same}) == {1: 0}

    @pytest.mark.parametrize(("finalized", "complete"), [(False, True), (True, False)])
    def test_a_row_that_was_not_final_is_expected_to_change(
        self, warehouse: Warehouse, finalized: bool, complete: bool
    ) -> None:
        store(warehouse, [1], finalized=finalized)
        make(warehouse, {1: standings(1, complete=complete)})
        store(warehouse, [1], finalized=finalized)
        assert make(warehouse, {1: self.changed(complete=complete)}) == {1: 0}
        assert self.corrected(warehouse).empty
