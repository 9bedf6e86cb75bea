"""Old epochs go by whole children, once their days are summed up; nothing else does."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import psycopg
import pytest
import sqlalchemy as sa

from valmon_pipeline.errors import StorageError
from valmon_pipeline.frames import TABLES, contract_of
from valmon_pipeline.frames.conform import conform
from valmon_pipeline.storage import retention
from valmon_pipeline.storage.epoch_partitions import list_partitions
from valmon_pipeline.storage.retention import drop_epochs_before
from valmon_pipeline.storage.standings_due import due_standings, spread_marks
from valmon_pipeline.storage.stored_days import day_of_epoch, replace_day, stored_days
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.conftest import DEVNET
from valmon_pipeline_tests.sample_frames import sample_frame
from valmon_pipeline_tests.stored_standings import replace_standings

EPOCHS_PER_DAY = 86_400_000 // (DEVNET.slots_per_epoch * DEVNET.slot_duration_ms)
SPAN = DEVNET.partition_epochs
# Three spans of ten epochs around the first midnight of UTC after genesis.
MIDNIGHT = next(
    epoch
    for epoch in range(EPOCHS_PER_DAY)
    if day_of_epoch(DEVNET, epoch) > day_of_epoch(DEVNET, 0)
)
FIRST = MIDNIGHT // SPAN * SPAN - SPAN
EPOCHS = range(FIRST, FIRST + 3 * SPAN)
DAY = day_of_epoch(DEVNET, FIRST)
NEXT_DAY = DAY + timedelta(days=1)


def day_frame(day: date, epochs: int) -> pd.DataFrame:
    """A summary of one validator."""
    contract = contract_of("validator_day_summaries")
    return conform(
        "validator_day_summaries",
        {
            **{name: np.zeros(1, np.int64) for name in contract.columns},
            "day": np.array([day], dtype="datetime64[ns]"),
            "epochs": np.array([epochs]),
            "complete": np.array([False]),
            "finalized": np.array([True]),
            **{
                name: np.zeros(1)
                for name, column in contract.schema.columns.items()
                if str(column.dtype) == "float64"
            },
        },
    )


@pytest.fixture
def stored(warehouse: Warehouse) -> Warehouse:
    """A warehouse with rows of three spans in every table that is kept by epoch."""
    for epoch in EPOCHS:
        frames = {
            name: sample_frame(name, epoch)
            for name in (
                *("blocks", "attestation_duties", "network_epochs", "check_results"),
                "epoch_summaries",
            )
        }
        frames["network_epochs"]["finalized"] = True
        warehouse.replace_epoch(epoch, frames)
    return warehouse


def summarise(warehouse: Warehouse, *days: date) -> None:
    found = {stored.day: stored for stored in stored_days(warehouse)}
    for day in days:
        replace_day(warehouse, day, day_frame(day, found[day].epochs), found[day].stored_at)


def epochs_left(warehouse: Warehouse, table: str = "network_epochs") -> list[int]:
    return sorted(set(warehouse.read(table, columns=["epoch"])["epoch"]))


def test_days_are_cut_at_midnight_of_utc(stored: Warehouse) -> None:
    found = {one.day: (one.epochs, one.last_epoch, one.summed_up) for one in stored_days(stored)}
    assert found == {
        DAY: (MIDNIGHT - FIRST, MIDNIGHT - 1, 0),
        NEXT_DAY: (EPOCHS.stop - MIDNIGHT, EPOCHS[-1], 0),
    }
    start = (
        DEVNET.genesis_time + MIDNIGHT * DEVNET.slots_per_epoch * DEVNET.slot_duration_ms // 1000
    )
    assert datetime.fromtimestamp(start, UTC).date() == NEXT_DAY


def test_nothing_goes_before_its_day_is_summed_up(stored: Warehouse) -> None:
    outcome = drop_epochs_before(stored, NEXT_DAY + timedelta(days=1))
    assert outcome.dropped == ()
    assert "0 of its" in outcome.kept[DAY]
    assert epochs_left(stored) == list(EPOCHS)


def test_a_span_goes_when_all_days_it_touches_are_old_and_summed_up(stored: Warehouse) -> None:
    summarise(stored, DAY, NEXT_DAY)
    outcome = drop_epochs_before(stored, NEXT_DAY)
    # The span that midnight falls in is kept: some of its epochs are not old enough.
    assert [(dropped.first, dropped.last) for dropped in outcome.dropped] == [
        (FIRST, FIRST + SPAN - 1)
    ]
    for table in ("network_epochs", "check_results", "blocks", "attestation_duties"):
        assert epochs_left(stored, table) == list(EPOCHS[SPAN:]), table
    with stored.database.transaction("list") as connection:
        children = list_partitions(connection, stored.schema, "blocks")
    assert [child.first_epoch for child in children] == [FIRST + SPAN, FIRST + 2 * SPAN]
    assert drop_epochs_before(stored, NEXT_DAY).dropped == ()


def test_the_rest_of_a_day_that_is_partly_dropped_goes_later(stored: Warehouse) -> None:
    summarise(stored, DAY, NEXT_DAY)
    before = stored.read("validator_day_summaries")
    drop_epochs_before(stored, NEXT_DAY)
    outcome = drop_epochs_before(stored, NEXT_DAY + timedelta(days=1))
    assert [dropped.first for dropped in outcome.dropped] == [FIRST + SPAN, FIRST + 2 * SPAN]
    assert epochs_left(stored) == []
    pd.testing.assert_frame_equal(stored.read("validator_day_summaries"), before)


def test_an_epoch_stored_after_its_day_was_summed_up_keeps_the_day(stored: Warehouse) -> None:
    found = {one.day: one for one in stored_days(stored)}
    count = found[DAY].epochs
    replace_day(stored, DAY, day_frame(DAY, count - 1), found[DAY].stored_at)
    summarise(stored, NEXT_DAY)
    outcome = drop_epochs_before(stored, NEXT_DAY + timedelta(days=1))
    assert outcome.kept == {DAY: f"{count - 1} of its {count} stored epochs are summed up"}
    assert all(dropped.first > MIDNIGHT for dropped in outcome.dropped)


def store_again(warehouse: Warehouse, epoch: int) -> None:
    """Store an epoch as it is, later than all others."""
    newest = warehouse.read("network_epochs", columns=["materialized_at"])["materialized_at"].max()
    frame = warehouse.read("network_epochs", epochs=[epoch])
    frame["materialized_at"] = newest + pd.Timedelta(hours=1)
    warehouse.replace_epoch(epoch, {"network_epochs": frame})


def test_an_epoch_stored_again_after_its_day_was_summed_up_keeps_the_day(
    stored: Warehouse,
) -> None:
    summarise(stored, DAY, NEXT_DAY)
    assert [one.is_due for one in stored_days(stored)] == [False, False]
    store_again(stored, FIRST + 3)
    assert [one.is_due for one in stored_days(stored)] == [True, False]
    outcome = drop_epochs_before(stored, NEXT_DAY + timedelta(days=1))
    assert outcome.kept == {DAY: "epochs were stored again after they were summed up"}
    assert all(dropped.first > MIDNIGHT for dropped in outcome.dropped)
    summarise(stored, DAY)
    assert drop_epochs_before(stored, NEXT_DAY + timedelta(days=1)).kept == {}
    assert epochs_left(stored) == []


def test_sums_from_before_note_was_kept_count_as_true(stored: Warehouse) -> None:
    summarise(stored, DAY, NEXT_DAY)
    with stored.database.transaction("forget") as connection:
        connection.execute(sa.delete(table_of(stored.schema, "summed_days")))
    assert [one.is_due for one in stored_days(stored)] == [False, False]


def test_what_is_left_of_a_day_and_stored_again_does_not_replace_its_sums(
    stored: Warehouse,
) -> None:
    summarise(stored, DAY, NEXT_DAY)
    drop_epochs_before(stored, NEXT_DAY)
    store_again(stored, MIDNIGHT - 1)
    assert [one.is_due for one in stored_days(stored)] == [False, False]
    assert drop_epochs_before(stored, NEXT_DAY + timedelta(days=1)).kept == {}


def test_a_day_that_is_not_final_is_kept(stored: Warehouse) -> None:
    summarise(stored, DAY, NEXT_DAY)
    provisional = sample_frame("network_epochs", FIRST)
    provisional["finalized"] = False
    stored.replace_epoch(FIRST, {"network_epochs": provisional})
    outcome = drop_epochs_before(stored, NEXT_DAY)
    assert outcome.kept == {DAY: "holds epochs that are not final"}


def test_a_long_reader_is_not_queued_behind(
    stored: Warehouse, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOCK_SECONDS", 1)
    summarise(stored, DAY, NEXT_DAY)
    with psycopg.connect(database_url) as reader:
        reader.execute(f"SELECT count(*) FROM {stored.schema}.blocks".encode())
        with pytest.raises(StorageError, match="holds a lock on the table"):
            drop_epochs_before(stored, NEXT_DAY)
    assert epochs_left(stored) == list(EPOCHS)
    assert drop_epochs_before(stored, NEXT_DAY).dropped


def test_every_table_by_epoch_is_emptied_but_sums_of_groups_are_kept(stored: Warehouse) -> None:
    summarise(stored, DAY, NEXT_DAY)
    drop_epochs_before(stored, NEXT_DAY + timedelta(days=1))
    left = [
        name
        for name, contract in TABLES.items()
        if contract.by_epoch and len(stored.read(name, columns=["epoch"]))
    ]
    assert left == ["epoch_summaries"]
    assert epochs_left(stored, "epoch_summaries") == list(EPOCHS)


def test_standings_of_the_epochs_that_stay_neither_change_nor_become_due(
    stored: Warehouse,
) -> None:
    spread_marks(stored.database, window_epochs=2 * SPAN)
    for due in due_standings(stored.database):
        replace_standings(stored, due, sample_frame("validator_standings", due.epoch))
    before = stored.read("validator_standings", epochs=EPOCHS[SPAN:])
    summarise(stored, DAY, NEXT_DAY)
    assert drop_epochs_before(stored, NEXT_DAY).dropped
    spread_marks(stored.database, window_epochs=2 * SPAN)
    assert due_standings(stored.database) == []
    pd.testing.assert_frame_equal(stored.read("validator_standings"), before)


def test_an_empty_schema_has_nothing_to_drop(warehouse: Warehouse) -> None:
    assert drop_epochs_before(warehouse, date(2030, 1, 1)).dropped == ()
