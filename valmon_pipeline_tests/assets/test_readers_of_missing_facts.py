"""Epochs of the recorded chain without some of their facts, through everything that reads them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Final

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.assets.alerts import Alerting, evaluate_due_epochs
from valmon_pipeline.assets.day_summaries import sum_up_day
from valmon_pipeline.assets.label_history import no_labels
from valmon_pipeline.assets.metadata import describe_epoch
from valmon_pipeline.assets.rescoring import diff
from valmon_pipeline.assets.standings import make_due_standings
from valmon_pipeline.epoch.epoch_frames import EpochFrames, compute_epoch_frames
from valmon_pipeline.frames.balance_ledger import COMPONENTS
from valmon_pipeline.frames.sums import SUM_NAMES
from valmon_pipeline.notify.reminders import ReminderRules, digest_facts
from valmon_pipeline.observability.exposition import FiguresCollector
from valmon_pipeline.reporting.files import to_csv
from valmon_pipeline.reporting.page import page
from valmon_pipeline.reporting.report import group_report, validator_report
from valmon_pipeline.scoring.standings import StandingRules
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.queries import (
    Granularity,
    Span,
    find_validators,
    group_series,
    group_summary,
    incomplete_epochs,
    ledger_by_epoch,
    ledger_over_epochs,
    network_series,
    validator_history,
    validator_series,
)
from valmon_pipeline.storage.queries.figures import FiguresReader
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epochs import AT, FEW, Computed, compute
from valmon_pipeline_tests.assets.rescored import rescore
from valmon_pipeline_tests.assets.stored import fresh_warehouse
from valmon_pipeline_tests.epoch.missing import AFTER_AN_OUTAGE, TAKEN, without
from valmon_pipeline_tests.observability.times import GENESIS, SLOT_MS, time_of

EPOCHS: Final = range(9, 14)
LACKING: Final = (11, 12)
"""The epochs that facts are taken away from: complete ones lie on both sides."""
SPAN: Final = Span(EPOCHS[0], EPOCHS[-1])
BLOCKS_ALONE: Final = tuple(name for name in TAKEN if not name.startswith("some "))
CASES: Final = {
    **{name: (name,) for name in TAKEN if name not in ("queues", "slashed_balance")},
    "after an outage": AFTER_AN_OUTAGE,
    "blocks alone": BLOCKS_ALONE,
}


@pytest.fixture(scope="module")
def computed(true_node_url: str) -> Computed:
    return compute(true_node_url, FEW, EPOCHS)


@pytest.fixture
def warehouse(database_url: str, computed: Computed) -> Iterator[Warehouse]:
    with fresh_warehouse(database_url) as warehouse:
        spec = computed.spec
        warehouse.bind_network(
            NetworkIdentity(spec.config_name, GENESIS, bytes(32), spec.slots_per_epoch, SLOT_MS, 7)
        )
        yield warehouse


def frames_without(computed: Computed, epoch: int, taken: Collection[str]) -> EpochFrames:
    answers = computed.answers[epoch]
    lacking = without(answers, taken, computed.answers[EPOCHS[-1]].registry_at_end)
    return compute_epoch_frames(computed.spec, lacking, watch=FEW, labels=no_labels(), at=AT)


def store(warehouse: Warehouse, computed: Computed, taken: Collection[str]) -> None:
    """Every epoch, those of ``LACKING`` without what is ``taken``; then what follows from them."""
    for epoch in EPOCHS:
        frames = computed.frames[epoch]
        if epoch in LACKING and taken:
            frames = frames_without(computed, epoch, taken)
        describe_epoch(frames.tables)
        warehouse.replace_epoch(epoch, frames.tables)
        assert make_due_standings(warehouse, StandingRules()).failures == {}
        evaluate_due_epochs(warehouse, Alerting(), time_of(8 * EPOCHS[-1]))


def opened(warehouse: Warehouse) -> set[tuple[str, str]]:
    """Rule and subject of every alert that there ever was."""
    alerts = warehouse.read("alerts")
    return set(zip(alerts["alert_type"].astype(str), alerts["subject"], strict=True))


def read_everything(warehouse: Warehouse) -> None:
    """Ask every question that is asked of stored epochs, and do what is done with them."""
    watched = sorted(FEW.indices)
    for by in (Granularity.EPOCH, Granularity.DAY):
        group_series(warehouse, SPAN, by)
        network_series(warehouse, SPAN, by)
        validator_series(warehouse, watched, SPAN, by)
    find_validators(warehouse, indices=watched)
    validator_history(warehouse, watched[0])
    for report in (
        group_report(warehouse, SPAN, "all"),
        validator_report(warehouse, SPAN, watched[:3]),
    ):
        page(report)
        to_csv(report.groups)
    figures = FiguresReader(warehouse, per_validator=True).read(time_of(8 * EPOCHS[-1]))
    for family in FiguresCollector("devnet", figures, {}, watches_network=False).collect():
        assert all(np.isfinite(sample.value) for sample in family.samples)
    digest_facts(
        warehouse,
        ReminderRules("devnet", ["day"], 8, "operator", timedelta(minutes=5)),
        time_of(8 * EPOCHS[-1]),
    )
    sum_up_day(warehouse, time_of(8 * EPOCHS[0]).date())


@pytest.fixture(scope="module")
def of_everything(database_url: str, computed: Computed) -> set[tuple[str, str]]:
    """The alerts about the same epochs with every fact."""
    with fresh_warehouse(database_url) as warehouse:
        spec = computed.spec
        warehouse.bind_network(
            NetworkIdentity(spec.config_name, GENESIS, bytes(32), spec.slots_per_epoch, SLOT_MS, 7)
        )
        store(warehouse, computed, [])
        return opened(warehouse)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_whatever_is_missing_is_read_and_raises_no_alert(
    warehouse: Warehouse, computed: Computed, of_everything: set[tuple[str, str]], case: str
) -> None:
    store(warehouse, computed, CASES[case])
    assert [one.epoch for one in incomplete_epochs(warehouse.database, 0, 99, 9)] == [12, 11]
    assert opened(warehouse) <= of_everything
    read_everything(warehouse)


def test_the_ledger_over_incomplete_epochs_adds_up(
    warehouse: Warehouse, computed: Computed
) -> None:
    store(warehouse, computed, ["some sync_rewards", "block_rewards", "some withdrawals"])
    by_epoch = ledger_by_epoch(warehouse, SPAN)
    assert by_epoch["unknown_rows"].sum() > 0
    (over,) = ledger_over_epochs(by_epoch).to_dict("records")
    parts = ("opening_balance", *COMPONENTS, "residual", "unknown", "moved", "gaps")
    assert sum(int(over[name]) for name in parts) == over["closing_balance"]
    assert over["unknown"] != 0


def test_epochs_without_balances_are_a_gap_in_the_ledger(
    warehouse: Warehouse, computed: Computed
) -> None:
    store(warehouse, computed, ["registry_at_start", "registry_at_end"])
    by_epoch = ledger_by_epoch(warehouse, SPAN)
    assert by_epoch["epoch"].tolist() == [epoch for epoch in EPOCHS if epoch not in LACKING]
    (over,) = ledger_over_epochs(by_epoch).to_dict("records")
    parts = ("opening_balance", *COMPONENTS, "residual", "unknown", "moved", "gaps")
    assert sum(int(over[name]) for name in parts) == over["closing_balance"]


def test_sums_of_days_validators_and_groups_are_of_what_is_known(
    warehouse: Warehouse, computed: Computed
) -> None:
    store(warehouse, computed, AFTER_AN_OUTAGE)
    sum_up_day(warehouse, time_of(8 * EPOCHS[0]).date())
    days = warehouse.read("validator_day_summaries")
    assert days["incomplete_epochs"].eq(len(LACKING)).all()
    everybody = group_series(warehouse, SPAN, Granularity.MONTH)
    for name in ("duties", "included", "missed", "reward", "rewards_known", "ledger_sync"):
        assert name in SUM_NAMES
        assert days[name].sum() == everybody[name].sum()
    rewards = warehouse.read("attestation_rewards")
    assert everybody["rewards_known"].sum() == rewards["total_reward"].notna().sum()
    (total,) = group_summary(warehouse, [*EPOCHS]).to_dict("records")
    assert (total["incomplete_epochs"], total["rewards_known"]) == (
        len(LACKING),
        rewards["total_reward"].notna().sum(),
    )
    (lacking,) = group_summary(warehouse, LACKING).to_dict("records")
    assert pd.isna(lacking["earned_gwei"])
    assert lacking["duties"] > 0


def test_rescoring_incomplete_epochs_changes_nothing(
    warehouse: Warehouse, computed: Computed
) -> None:
    store(warehouse, computed, AFTER_AN_OUTAGE)
    assert [column for column in diff(warehouse, StandingRules(), LACKING) if column.moved] == []
    assert rescore(warehouse, LACKING).corrections == 0


def test_an_epoch_that_is_completed_is_as_if_it_had_never_lacked_anything(
    warehouse: Warehouse, computed: Computed
) -> None:
    store(warehouse, computed, BLOCKS_ALONE)
    for epoch in LACKING:
        warehouse.replace_epoch(epoch, computed.frames[epoch].tables)
    assert make_due_standings(warehouse, StandingRules()).failures == {}
    completed = warehouse.read("validator_standings")
    assert incomplete_epochs(warehouse.database, 0, 99, 9) == []
    for epoch in EPOCHS:
        warehouse.replace_epoch(epoch, computed.frames[epoch].tables)
    make_due_standings(warehouse, StandingRules())
    pd.testing.assert_frame_equal(completed, warehouse.read("validator_standings"))
