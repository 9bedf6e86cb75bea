"""NULLs of an epoch go through what reads it, and are not turned into numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.assets.live_frames import status_events
from valmon_pipeline.assets.metadata import describe_epoch
from valmon_pipeline.assets.standings import epoch_facts, make_due_standings
from valmon_pipeline.frames import conform, contract_of
from valmon_pipeline.frames.balance_ledger import COMPONENTS
from valmon_pipeline.frames.fact_sources import FACTS
from valmon_pipeline.frames.sums import SUM_NAMES
from valmon_pipeline.observability.group_metrics import GroupMetrics
from valmon_pipeline.scoring.standings import EXCUSED, KEPT, MISSED, NO_DUTY, StandingRules
from valmon_pipeline.storage.queries import (
    Span,
    group_summary,
    ledger_by_epoch,
    ledger_over_epochs,
)
from valmon_pipeline.storage.queries.ledgers import ledger_of_validators
from valmon_pipeline.storage.queries.newest_epoch import EVERYBODY, StoredEpoch, newest_epoch
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.sample_frames import sample_frame

PRUNED = "the state was pruned"
EPOCH_TABLES = (
    *("blocks", "attestation_outcomes", "attestation_rewards", "block_rewards", "block_events"),
    *("balance_ledger", "validator_penalties", "sync_duties", "sync_rewards", "network_epochs"),
    *("effectiveness_scores", "epoch_summaries", "network_bands", "fact_sources"),
)


def empty(table: str) -> pd.DataFrame:
    return conform(table, {name: [] for name in contract_of(table).columns})


def changed(table: str, frame: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """``frame`` with other values in some columns, of the types of its table."""
    return conform(table, {**{str(name): frame[name] for name in frame.columns}, **columns})


def sources(epoch: int, *missing: str) -> pd.DataFrame:
    """Frame ``fact_sources`` of an epoch that lacks ``missing``."""
    return conform(
        "fact_sources",
        {
            "epoch": epoch,
            "fact": list(FACTS),
            "source": [None if fact in missing else "request" for fact in FACTS],
            "node": [None] * (len(FACTS) - 1) + ["http://node"],
            "reason": [PRUNED if fact in missing else None for fact in FACTS],
            "compared": None,
            "deviating": None,
            "largest_deviation": None,
        },
    )


def network_epoch(epoch: int, missing: int) -> pd.DataFrame:
    frame = sample_frame("network_epochs", epoch)
    return frame.assign(
        missing_facts=np.array([missing], dtype=np.int32),
        leak=pd.array([False], dtype="boolean"),
    )


class TestMetadata:
    def test_tables_with_nulls_are_described(self) -> None:
        tables = {name: sample_frame(name) for name in EPOCH_TABLES}
        described = describe_epoch(tables)
        rewards = tables["attestation_rewards"]["total_reward"]
        assert described["attestation_rewards"]["earned_gwei"] == rewards.sum()
        assert described["attestation_rewards"]["rewards_unknown"] == rewards.isna().sum() > 0
        unknown = tables["balance_ledger"]["residual"].isna().sum()
        assert described["balance_ledger"]["rows_with_unknown_components"] == unknown > 0

    def test_a_sum_of_nothing_that_is_known_is_not_0(self) -> None:
        tables = {name: sample_frame(name) for name in EPOCH_TABLES}
        for table, columns in {
            "attestation_rewards": ("total_reward", "inactivity_penalty"),
            "sync_rewards": ("reward",),
            "block_rewards": ("total",),
        }.items():
            for column in columns:
                tables[table][column] = pd.array([None] * len(tables[table]), dtype="Int64")
        described = describe_epoch(tables)
        assert described["attestation_rewards"]["earned_gwei"] is None
        assert described["attestation_rewards"]["missed_gwei"] is None
        assert described["sync_rewards"]["earned_gwei"] is None
        assert described["block_rewards"]["earned_gwei"] is None

    def test_the_network_epoch_shows_sources_and_what_is_missing(self) -> None:
        tables = {name: sample_frame(name) for name in EPOCH_TABLES}
        tables["fact_sources"] = sources(7, "committees", "sync_rewards")
        described = describe_epoch(tables)["network_epochs"]
        assert described["missing_facts"] == 2
        assert described["missing"] == "committees, sync_rewards"
        lines = described["sources"].value.splitlines()
        assert f"| committees | **not known** |  |  | {PRUNED} |" in lines[2:4]
        assert "| network_state | request | http://node |  |  |" in lines

    def test_whether_there_was_a_leak_may_be_unknown(self) -> None:
        tables = {name: sample_frame(name) for name in EPOCH_TABLES}
        leak = pd.array([None], dtype="boolean")
        tables["network_epochs"] = tables["network_epochs"].assign(leak=leak)
        assert "leak" not in describe_epoch(tables)["network_epochs"]


class TestStandings:
    VALIDATORS = 4

    def store(self, warehouse: Warehouse, epoch: int, *, known: bool) -> None:
        """An epoch in which everybody misses, or whose duties are not known."""
        count = self.VALIDATORS
        outcomes = changed(
            "attestation_outcomes",
            sample_frame("attestation_outcomes", epoch, count),
            included=False,
            inclusion_slot=None,
            inclusion_delay=None,
            miss_cause="not_included",
            **dict.fromkeys(("source_timely", "target_timely", "head_timely"), False),
            **dict.fromkeys(("target_correct", "head_correct"), False),
        )
        scores = sample_frame("effectiveness_scores", epoch, count)
        snapshots = pd.concat(
            [
                changed(
                    "validator_snapshots",
                    sample_frame("validator_snapshots", epoch, count),
                    slot=slot,
                    status=None,
                )
                for slot in (8 * epoch, 8 * epoch + 8)
            ],
            ignore_index=True,
        )
        warehouse.replace_epoch(
            epoch,
            {
                "attestation_outcomes": outcomes if known else empty("attestation_outcomes"),
                "effectiveness_scores": scores if known else empty("effectiveness_scores"),
                "validator_snapshots": snapshots,
                "network_epochs": network_epoch(epoch, 0 if known else 1),
                "fact_sources": sources(epoch, *(() if known else ("committees",))),
            },
        )

    def standings(self, warehouse: Warehouse, epoch: int) -> pd.DataFrame:
        return warehouse.read("validator_standings", epochs=[epoch])

    def test_a_streak_goes_on_across_an_epoch_without_duties(self, warehouse: Warehouse) -> None:
        for epoch, known in ((0, True), (1, False), (2, True)):
            self.store(warehouse, epoch, known=known)
        assert make_due_standings(warehouse, StandingRules()).failures == {}
        before, without, after = (self.standings(warehouse, epoch) for epoch in (0, 1, 2))
        assert before["missed_streak"].eq(1).all()
        assert before["window_complete"].all()
        assert without["missed_streak"].eq(1).all()
        assert not without["window_complete"].any()
        assert after["missed_streak"].eq(2).all()
        assert after["window_epochs"].eq(2).all()
        assert not after["window_complete"].any()

    def test_nothing_is_known_of_validators_whose_duties_never_were(
        self, warehouse: Warehouse
    ) -> None:
        self.store(warehouse, 0, known=False)
        assert make_due_standings(warehouse, StandingRules()).failures == {}
        standings = self.standings(warehouse, 0)
        assert standings["health"].eq("unknown").all()
        assert standings["health_reasons"].eq("duties_unknown").all()
        assert standings["time_weighted_score"].isna().all()
        assert standings["window_epochs"].eq(0).all()

    def test_an_epoch_that_is_completed_makes_its_standings_anew(
        self, warehouse: Warehouse
    ) -> None:
        for epoch, known in ((0, True), (1, False), (2, True), (1, True)):
            self.store(warehouse, epoch, known=known)
            make_due_standings(warehouse, StandingRules())
        standings = self.standings(warehouse, 2)
        assert standings["missed_streak"].eq(3).all()
        assert standings["window_complete"].all()

    def test_a_miss_without_a_cause_does_not_count(self) -> None:
        outcomes = sample_frame("attestation_outcomes", rows=4)
        outcomes["included"] = [True, False, False, False]
        outcomes["earliest_inclusion_slot"] = pd.array([57] * 4, dtype="Int32")
        outcomes["miss_cause"] = pd.Series([None, None, "not_included", "exit_boundary"])
        scores = sample_frame("effectiveness_scores", rows=5)
        duty = epoch_facts(7, scores, outcomes).duty
        assert duty.tolist() == [KEPT, EXCUSED, MISSED, EXCUSED, NO_DUTY]


def test_a_status_that_is_not_known_did_not_change() -> None:
    def snapshot(slot: int, *statuses: str | None) -> pd.DataFrame:
        return pd.DataFrame({"validator_index": [1, 2, 3], "slot": slot, "status": statuses})

    known = snapshot(8, "active_ongoing", "active_ongoing", None)
    later = snapshot(9, None, "active_slashed", "active_slashed")
    events = status_events(known, later)
    assert [(event.validator_index, event.event_type) for event in events] == [(2, "slashed")]


class TestLedger:
    @pytest.fixture
    def filled(self, warehouse: Warehouse) -> Warehouse:
        """Three epochs: whole, with a component that is not known, and without balances."""
        for epoch in (7, 8, 9):
            amounts: dict[str, Any] = {
                name: [0, 0] for name in SUM_NAMES if name.startswith("ledger_")
            }
            amounts |= {"opening_balance": [1000, 2000], "closing_balance": [1005, 2006]}
            amounts["ledger_attestation"] = [5, 6]
            if epoch == 8:
                amounts |= {"opening_balance": [1005, 2006], "closing_balance": [1012, 2012]}
                amounts["ledger_unknown_rows"] = [1, 0]
            if epoch == 9:
                amounts |= {"opening_balance": None, "closing_balance": None}
                amounts["ledger_attestation"] = [0, 0]
            sums = changed("epoch_summaries", sample_frame("epoch_summaries", epoch, 2), **amounts)
            warehouse.replace_epoch(epoch, {"epoch_summaries": sums})
        return warehouse

    def test_it_adds_up_with_what_is_not_known(self, filled: Warehouse) -> None:
        by_epoch = ledger_by_epoch(filled, Span(7, 9), "operator")
        assert by_epoch["epoch"].unique().tolist() == [7, 8]
        over = ledger_over_epochs(by_epoch)
        assert over["unknown"].tolist() == [2, 0]
        assert over["closing_balance"].tolist() == [1012, 2012]
        parts = over["opening_balance"] + over["attestation"] + over["unknown"] + over["moved"]
        assert parts.tolist() == over["closing_balance"].tolist()

    def test_that_of_validators_counts_rows_with_unknown_components(
        self, warehouse: Warehouse
    ) -> None:
        rows = sample_frame("balance_ledger", 7, 10)
        warehouse.replace_epoch(7, {"balance_ledger": rows})
        some = ledger_of_validators(warehouse, [0, 1, 5], Span(7, 7))
        expected = rows[rows["validator_index"].isin([0, 1, 5])]
        assert some["unknown_rows"].tolist() == [expected["residual"].isna().sum()] == [2]
        assert some["sync"].tolist() == [expected["sync"].sum()]
        over = ledger_over_epochs(some).iloc[0]
        unknown = expected[expected["residual"].isna()]
        moved = (unknown["closing_balance"] - unknown["opening_balance"]).sum()
        assert over["unknown"] == moved - unknown[[*COMPONENTS]].sum().sum()


def test_validators_without_a_known_status_are_counted_as_such(warehouse: Warehouse) -> None:
    snapshots = changed(
        "validator_snapshots",
        sample_frame("validator_snapshots", 7, 6),
        slot=56,
        status=[None, None, *["active_ongoing"] * 4],
    )
    warehouse.replace_epoch(
        7,
        {
            "validator_snapshots": snapshots,
            "network_epochs": network_epoch(7, 1),
            "fact_sources": sources(7, "registry_at_start"),
        },
    )
    with warehouse.database.transaction("read the newest epoch") as connection:
        newest = newest_epoch(connection, warehouse.schema)
    assert newest is not None
    assert newest.statuses[EVERYBODY]["unknown"] == 2
    assert newest.missing == {"registry_at_start"}


class TestSumsOfGroups:
    @staticmethod
    def sums(epoch: int, *, known: bool) -> pd.DataFrame:
        """The row of everybody: 10 validators with or without rewards that are known."""
        return changed(
            "epoch_summaries",
            sample_frame("epoch_summaries", epoch, 1),
            category="all",
            value="all",
            reward=900 * known,
            rewards_known=10 * known,
            missed_reward=100 * known,
            **dict.fromkeys(("sync_due", "sync_participated", "sync_due_rewarded"), 0),
            **dict.fromkeys(("proposals_due", "proposals_proposed", "proposals_rewarded"), 0),
            **dict.fromkeys(("sync_reward", "sync_ideal_reward", "proposal_reward"), 0),
        )

    def store(self, warehouse: Warehouse, epoch: int, *, known: bool) -> None:
        warehouse.replace_epoch(
            epoch,
            {
                "epoch_summaries": self.sums(epoch, known=known),
                "network_epochs": network_epoch(epoch, 0 if known else 1),
            },
        )

    def test_what_was_earned_is_not_known_rather_than_0(self, warehouse: Warehouse) -> None:
        self.store(warehouse, 7, known=False)
        (row,) = group_summary(warehouse, [7]).to_dict("records")
        assert pd.isna(row["earned_gwei"])
        assert pd.isna(row["missed_gwei"])
        assert (row["rewards_known"], row["incomplete_epochs"]) == (0, 1)

    def test_a_total_says_over_how_much_it_was_taken(self, warehouse: Warehouse) -> None:
        for epoch, known in ((7, True), (8, False), (9, True)):
            self.store(warehouse, epoch, known=known)
        (row,) = group_summary(warehouse, [7, 8, 9]).to_dict("records")
        assert (row["earned_gwei"], row["missed_gwei"]) == (1800, 200)
        assert (row["rewards_known"], row["incomplete_epochs"]) == (20, 1)

    @staticmethod
    def exported(newest: StoredEpoch) -> set[str]:
        """The names of the metrics that have a sample."""
        families = GroupMetrics("devnet", watches_network=False).collect(newest)
        return {family.name for family in families if family.samples}

    def test_metrics_that_rest_on_missing_facts_have_no_samples(self) -> None:
        streaks = "eth_missed_consecutive_attestations"

        def newest(known: bool, *missing: str) -> StoredEpoch:
            (row,) = self.sums(7, known=known).to_dict("records")
            return StoredEpoch(
                epoch=7,
                materialized_at=datetime(2026, 11, 30, tzinfo=UTC),
                sums={EVERYBODY: {str(name): value for name, value in row.items()}},
                statuses={},
                slashed={},
                repeatedly_missed={EVERYBODY: 0},
                validators=[],
                missing=frozenset(missing),
            )

        whole = self.exported(newest(True))
        assert {"eth_missed_attestations", "eth_actual_consensus_rewards_gwei", streaks} <= whole
        assert whole - self.exported(newest(False, "attestation_rewards")) == {
            "eth_actual_consensus_rewards_gwei",
            "valmon_missed_reward_gwei",
        }
        assert whole - self.exported(newest(True, "committees")) == {
            "eth_missed_attestations",
            streaks,
        }
        assert whole - self.exported(newest(True, "proposers")) == {"valmon_proposals_due"}
