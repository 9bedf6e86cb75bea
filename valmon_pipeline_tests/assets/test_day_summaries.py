"""Days of the recorded chain summed up, against what the database makes of the same facts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import pandas as pd
import pytest

from valmon_pipeline.assets.day_summaries import sum_up_day
from valmon_pipeline.assets.day_sums import day_summaries_frame
from valmon_pipeline.errors import StorageError
from valmon_pipeline.frames.balance_ledger import COMPONENTS
from valmon_pipeline.partitions import epochs_of_day
from valmon_pipeline.storage.queries import group_summary
from valmon_pipeline.storage.stored_days import day_of_epoch, stored_days
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import FEW, NETWORK, client_opener
from valmon_pipeline_tests.assets.stored import fresh_warehouse

EPOCHS = range(16, 24)


@pytest.fixture(scope="module")
def warehouse(database_url: str, true_node_url: str) -> Iterator[Warehouse]:
    """Epochs of everybody, with misses, proposals and a sync committee."""
    with fresh_warehouse(database_url) as warehouse:
        EpochLoader(client_opener(true_node_url), warehouse, NETWORK).run(EPOCHS)
        yield warehouse


@pytest.fixture
def day(warehouse: Warehouse) -> date:
    """The day of the stored epochs."""
    network = warehouse.network()
    assert network is not None
    return day_of_epoch(network, EPOCHS[0])


def due(warehouse: Warehouse, day: date) -> range:
    network = warehouse.network()
    assert network is not None
    return epochs_of_day(network, network.genesis_time, day)


def test_sums_are_those_of_the_database(warehouse: Warehouse, day: date) -> None:
    frame = day_summaries_frame(warehouse, day, due(warehouse, day))
    totals = group_summary(warehouse, EPOCHS).iloc[0]
    assert len(frame) == totals["validators"]
    assert frame[["opening_balance", "closing_balance"]].notna().all(axis=None)
    assert frame["duties"].sum() == totals["duties"]
    assert frame["missed"].sum() == totals["missed"] > 0
    earned = frame["reward"] + frame["sync_reward"] + frame["proposal_reward"]
    assert earned.sum() == totals["earned_gwei"]
    lost = (frame["ideal_reward"] - frame["reward"]).sum() + (
        frame["sync_ideal_reward"] - frame["sync_reward"]
    ).sum()
    assert lost == totals["missed_gwei"]
    effectiveness = (
        frame["attestation_effectiveness_sum"].sum()
        / frame["attestation_effectiveness_duties"].sum()
    )
    assert effectiveness == pytest.approx(totals["attestation_effectiveness"], rel=1e-12)
    duties = warehouse.read("proposer_duties", epochs=EPOCHS)
    assert frame["proposals_due"].sum() == len(duties)
    assert frame["proposals_proposed"].sum() == (duties["outcome"] == "proposed").sum()
    weights = warehouse.read("attestation_rewards", epochs=EPOCHS)["effective_balance"]
    assert frame["effective_balance_epochs"].sum() == weights.sum()
    assert (frame["epochs"] == len(EPOCHS)).all()
    assert not frame["complete"].any()
    assert frame["finalized"].all()


def test_a_day_of_a_validator_adds_up_from_its_first_balance_to_its_last(
    warehouse: Warehouse, day: date
) -> None:
    frame = day_summaries_frame(warehouse, day, due(warehouse, day)).set_index("validator_index")
    ledger = warehouse.read("balance_ledger", epochs=EPOCHS)
    explained = frame["opening_balance"] + frame["ledger_residual"]
    for name in COMPONENTS:
        assert frame[f"ledger_{name}"].sum() == ledger[name].sum()
        explained = explained + frame[f"ledger_{name}"]
    assert (explained == frame["closing_balance"]).all()
    first = ledger[ledger["epoch"] == EPOCHS[0]].set_index("validator_index")["opening_balance"]
    last = ledger[ledger["epoch"] == EPOCHS[-1]].set_index("validator_index")["closing_balance"]
    assert (frame["opening_balance"].loc[first.index] == first).all()
    assert (frame["closing_balance"].loc[last.index] == last).all()
    assert len(last) > 100


def test_the_size_of_the_pieces_does_not_change_a_bit(warehouse: Warehouse, day: date) -> None:
    whole = day_summaries_frame(warehouse, day, due(warehouse, day))
    pieces = day_summaries_frame(warehouse, day, due(warehouse, day), rows_at_once=130)
    pd.testing.assert_frame_equal(whole, pieces, check_exact=True)


def test_a_day_whose_epochs_are_all_stored_is_complete(warehouse: Warehouse, day: date) -> None:
    frame = day_summaries_frame(warehouse, day, EPOCHS)
    assert frame["complete"].all()


def test_a_proposal_counts_only_while_its_proposer_is_watched(
    database_url: str, true_node_url: str
) -> None:
    with fresh_warehouse(database_url) as warehouse:
        EpochLoader(client_opener(true_node_url), warehouse, FEW).run(EPOCHS)
        frame = day_summaries_frame(warehouse, date(2026, 1, 1), EPOCHS)
        duties = warehouse.read("proposer_duties", epochs=EPOCHS)
    assert set(frame["validator_index"]) <= FEW.indices
    ours = duties["validator_index"].isin(list(FEW.indices))
    assert frame["proposals_due"].sum() == ours.sum() > 0
    # Unknown in one epoch, unknown over the day: the network was not read as a whole.
    assert frame["attainable_reward"].isna().any()


def test_summing_up_stores_and_is_seen_as_stored(warehouse: Warehouse, day: date) -> None:
    assert [(d.day, d.epochs, d.summed_up) for d in stored_days(warehouse)] == [
        (day, len(EPOCHS), 0)
    ]
    summary = sum_up_day(warehouse, day)
    assert summary["epochs"] == len(EPOCHS)
    again = sum_up_day(warehouse, day)
    assert again == summary
    (stored,) = stored_days(warehouse)
    assert (stored.summed_up, stored.is_final, stored.last_epoch) == (8, True, EPOCHS[-1])
    assert not stored.is_due
    rows = warehouse.read("validator_day_summaries")
    assert len(rows) == summary["dagster/partition_row_count"]


def test_sums_are_not_replaced_by_those_of_fewer_epochs(
    database_url: str, true_node_url: str, day: date
) -> None:
    with fresh_warehouse(database_url) as warehouse:
        EpochLoader(client_opener(true_node_url), warehouse, FEW).run(EPOCHS)
        sum_up_day(warehouse, day)
        before = warehouse.read("validator_day_summaries")
        with warehouse.database.transaction("drop an epoch") as connection:
            connection.exec_driver_sql(
                f"DELETE FROM {warehouse.schema}.network_epochs WHERE epoch = {EPOCHS[0]}"
            )
        with pytest.raises(StorageError, match="covers 8 epochs, but only 7"):
            sum_up_day(warehouse, day)
        pd.testing.assert_frame_equal(warehouse.read("validator_day_summaries"), before)


def test_a_day_without_stored_epochs_fails_with_its_epochs(warehouse: Warehouse, day: date) -> None:
    with pytest.raises(dg.Failure, match=r"no epoch of .* is stored: its epochs are \d+ to \d+"):
        sum_up_day(warehouse, day + timedelta(days=3))
