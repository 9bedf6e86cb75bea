"""Scores computed again from what is stored: the same with the same formulas, and told if not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.assets import score_batch as score_batch_module
from valmon_pipeline.assets import standings as standings_module
from valmon_pipeline.assets.day_summaries import sum_up_day
from valmon_pipeline.assets.rescoring import diff, stored_in, sum_up_days_again
from valmon_pipeline.assets.standings import make_due_standings
from valmon_pipeline.epoch import group_sums, network_scores, scores
from valmon_pipeline.errors import EpochsFailedError, ObjectUnavailableError
from valmon_pipeline.scoring.effectiveness import (
    FORMULA_VERSION,
    attestation_effectiveness,
    reward_effectiveness,
)
from valmon_pipeline.scoring.health import HealthRules
from valmon_pipeline.scoring.standings import StandingRules
from valmon_pipeline.storage import step_frames
from valmon_pipeline.storage.stored_days import day_of_epoch
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epochs import FEW, NETWORK, Computed, compute
from valmon_pipeline_tests.assets.rescored import rescore
from valmon_pipeline_tests.assets.stored import fresh_warehouse
from valmon_pipeline_tests.assets.stored_devnet import bind, store

EPOCHS: Final = range(13, 23)
RULES: Final = StandingRules(
    half_life_epochs=2.5, window_epochs=4, health=HealthRules(minimum_judged_epochs=3)
)
NEWER: Final = FORMULA_VERSION + 1
REASON: Final = f"rescored with formula version {NEWER}"
WRITTEN: Final = (
    *("effectiveness_scores", "epoch_summaries", "validator_standings"),
    *("validator_day_summaries", "network_bands", "network_epochs"),
)


@pytest.fixture(scope="module")
def everybody(true_node_url: str) -> Computed:
    return compute(true_node_url, NETWORK, EPOCHS)


@pytest.fixture(scope="module")
def few(true_node_url: str) -> Computed:
    return compute(true_node_url, FEW, EPOCHS)


def filled(warehouse: Warehouse, computed: Computed) -> Warehouse:
    """Epochs, standings and days, as after a backfill."""
    bind(warehouse, computed)
    store(warehouse, computed, EPOCHS)
    make_due_standings(warehouse, RULES)
    network = warehouse.network()
    assert network is not None
    for day in {day_of_epoch(network, epoch) for epoch in EPOCHS}:
        sum_up_day(warehouse, day)
    return warehouse


@pytest.fixture
def warehouse(database_url: str, everybody: Computed) -> Iterator[Warehouse]:
    with fresh_warehouse(database_url) as warehouse:
        yield filled(warehouse, everybody)


def contents(warehouse: Warehouse) -> dict[str, pd.DataFrame]:
    return {table: warehouse.read(table) for table in (*WRITTEN, "corrections", "standings_due")}


def same(left: dict[str, pd.DataFrame], right: dict[str, pd.DataFrame]) -> None:
    for table, frame in left.items():
        pd.testing.assert_frame_equal(right[table], frame, check_exact=True, obj=table)


@pytest.fixture
def another_formula(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """After all was stored, a new version: 0.75 for a vote that is included as soon as possible."""
    assert not warehouse.read("effectiveness_scores").empty
    before = attestation_effectiveness

    def harsher(*columns: Any) -> Any:
        effectiveness = before(*columns)
        return np.where(effectiveness == 1, 0.75, effectiveness)

    for module in (scores, network_scores):
        monkeypatch.setattr(module, "attestation_effectiveness", harsher)
    for module in (scores, group_sums, score_batch_module, standings_module, step_frames):
        monkeypatch.setattr(module, "FORMULA_VERSION", NEWER)


@pytest.mark.parametrize("watched", ["everybody", "few"])
def test_the_same_formulas_change_nothing(
    database_url: str, request: pytest.FixtureRequest, watched: str
) -> None:
    computed: Computed = request.getfixturevalue(watched)
    with fresh_warehouse(database_url) as warehouse:
        filled(warehouse, computed)
        before = contents(warehouse)
        assert diff(warehouse, RULES, EPOCHS) == []
        assert rescore(warehouse, EPOCHS).corrections == 0
        outcome = make_due_standings(warehouse, RULES)
        assert (outcome.made, outcome.corrections) == (set(EPOCHS), 0)
        assert set(sum_up_days_again(warehouse, EPOCHS).values()) == {None}
        same(before, contents(warehouse))


@pytest.mark.usefixtures("another_formula")
def test_a_diff_tells_what_would_move_and_stores_nothing(warehouse: Warehouse) -> None:
    before = contents(warehouse)
    moves = {(column.table, column.column): column for column in diff(warehouse, RULES, EPOCHS)}
    same(before, contents(warehouse))

    stored = before["effectiveness_scores"]
    prompt = stored["attestation_effectiveness"] == 1
    moved = moves["effectiveness_scores", "attestation_effectiveness"]
    assert moved.rows == len(stored)
    assert moved.moved == prompt.sum() > 900
    assert moved.largest == 0.25
    (first, *_) = moved.examples
    row = stored[prompt].iloc[0]
    assert (first.epoch, first.validator_index) == (row["epoch"], row["validator_index"])
    assert (first.old, first.new) == ("1.0", "0.75")
    assert ("epoch_summaries", "attestation_effectiveness_sum") in moves
    # Only in the leak (target epochs 21 and 22) standings go by the attestation effectiveness.
    assert {table for table, _ in moves} >= {"effectiveness_scores", "validator_standings"}
    assert not [column for _, column in moves if column == "formula_version"]


@pytest.mark.usefixtures("another_formula")
def test_rescoring_does_what_the_diff_told_and_says_so_in_corrections(
    warehouse: Warehouse,
) -> None:
    told = {
        (column.table, column.column): column.moved for column in diff(warehouse, RULES, EPOCHS)
    }
    before = contents(warehouse)
    assert rescore(warehouse, EPOCHS).epochs == tuple(EPOCHS)
    make_due_standings(warehouse, RULES)
    sum_up_days_again(warehouse, EPOCHS)
    after = contents(warehouse)
    for table in WRITTEN[:3]:
        assert (after[table]["formula_version"] == NEWER).all(), table
    entered = after["corrections"]
    assert set(entered["reason"]) == {REASON}
    counts = entered.groupby(["table_name", "column_name"]).size().to_dict()
    # Sums of what is entered need no entry of their own, nor do standings of incomplete windows,
    # which here are all before the leak and do not move.
    summed = {key: told.pop(key) for key in list(told) if key[0] == "epoch_summaries"}
    assert summed
    assert counts == told
    assert (
        after["validator_day_summaries"]["attestation_effectiveness_sum"].sum()
        < before["validator_day_summaries"]["attestation_effectiveness_sum"].sum()
    )
    assert diff(warehouse, RULES, EPOCHS) == []


@pytest.mark.usefixtures("another_formula")
def test_a_part_of_the_epochs_moves_the_standings_after_it(warehouse: Warehouse) -> None:
    before = contents(warehouse)
    chosen = range(20, 22)
    moves = diff(warehouse, RULES, chosen)
    assert {example.epoch for column in moves for example in column.examples} <= {20, 21, 22}
    rescore(warehouse, chosen)
    assert make_due_standings(warehouse, RULES).made == {20, 21, 22}
    after = contents(warehouse)
    for table, last in (("effectiveness_scores", 21), ("validator_standings", 22)):
        newer = after[table][after[table]["formula_version"] == NEWER]
        assert set(newer["epoch"]) == set(range(20, last + 1))
        others = after[table]["epoch"].between(20, last)
        pd.testing.assert_frame_equal(after[table][~others], before[table][~others])


def test_a_changed_setting_moves_standings_only(warehouse: Warehouse) -> None:
    slower = StandingRules(half_life_epochs=50.0, window_epochs=4, health=RULES.health)
    moves = diff(warehouse, slower, EPOCHS)
    assert {column.table for column in moves} == {"validator_standings"}
    assert "time_weighted_score" in {column.column for column in moves}
    rescore(warehouse, EPOCHS)
    make_due_standings(warehouse, slower)
    assert diff(warehouse, slower, EPOCHS) == []


def test_ranks_in_a_network_that_is_not_stored_are_kept_or_unknown(
    database_url: str, few: Computed, everybody: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = everybody.frames[14].tables["effectiveness_scores"].set_index("validator_index")
    with fresh_warehouse(database_url) as warehouse:
        bind(warehouse, few)
        tables = dict(few.frames[14].tables)
        known = tables["effectiveness_scores"]
        tables["effectiveness_scores"] = known.assign(
            network_percentile_rank=ranks["network_percentile_rank"]
            .reindex(known["validator_index"])
            .to_numpy()
        )
        warehouse.replace_epoch(14, tables)
        before = warehouse.read("effectiveness_scores")
        assert before["network_percentile_rank"].notna().any()
        rescore(warehouse, [14])
        pd.testing.assert_frame_equal(warehouse.read("effectiveness_scores"), before)

        formula = reward_effectiveness

        def another(*columns: Any) -> Any:
            effectiveness = formula(*columns)
            return np.where(effectiveness < 1, effectiveness - 1, effectiveness)

        monkeypatch.setattr(scores, "reward_effectiveness", another)
        rescore(warehouse, [14])
        after = warehouse.read("effectiveness_scores")
    moved = (after["reward_effectiveness"] != before["reward_effectiveness"]) & after[
        "reward_effectiveness"
    ].notna()
    assert 0 < moved.sum() < len(moved)
    assert after.loc[moved, "network_percentile_rank"].isna().all()
    kept = ["validator_index", "network_percentile_rank"]
    pd.testing.assert_frame_equal(after.loc[~moved, kept], before.loc[~moved, kept])


def test_live_snapshots_of_other_validators_are_no_part_of_an_epoch(
    warehouse: Warehouse, everybody: Computed
) -> None:
    frame = everybody.frames[14].tables["validator_snapshots"].head(1)
    live = frame.assign(slot=np.int32(14 * 8 + 3), validator_index=np.int32(999))
    warehouse.replace_rows({"validator_snapshots": live})
    assert diff(warehouse, RULES, [14]) == []


def test_epochs_that_are_not_stored_are_left_out(warehouse: Warehouse) -> None:
    assert stored_in(warehouse, 0, 15) == [13, 14, 15]
    with pytest.raises(ObjectUnavailableError, match=r"no epoch of 90\.\.99 is stored"):
        stored_in(warehouse, 90, 99)
    with pytest.raises(EpochsFailedError) as failed:
        rescore(warehouse, [15, 90])
    assert set(failed.value.reasons) == {90}
