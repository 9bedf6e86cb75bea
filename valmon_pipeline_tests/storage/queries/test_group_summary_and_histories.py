"""What the command line asks, on rows whose answers are known by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.assets.label_history import no_labels
from valmon_pipeline.epoch.group_sums import epoch_summaries_frame
from valmon_pipeline.frames import conform, contract_of
from valmon_pipeline.storage.queries import (
    group_summary,
    storage_status,
    stored_epochs,
    validator_history,
)
from valmon_pipeline.storage.queries import status as status_queries
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.conftest import DEVNET
from valmon_pipeline_tests.sample_frames import sample_frame

VALIDATORS = np.arange(4)


def outcomes(epoch: int) -> pd.DataFrame:
    """Validator 0 in time, 1 late, 2 missed, 3 without any block to be included in."""
    included = np.array([True, True, False, False])
    delay = np.array([1, 2, 0, 0])
    slot = np.full(4, epoch * 8)
    return conform(
        "attestation_outcomes",
        {
            "epoch": epoch,
            "validator_index": VALIDATORS,
            "slot": slot,
            "included": included,
            "inclusion_slot": np.ma.array(slot + delay, mask=~included),
            "inclusion_delay": np.ma.array(delay, mask=~included),
            "earliest_inclusion_slot": np.ma.array(slot + 1, mask=[False, False, False, True]),
            "target_correct": included,
            "head_correct": included,
            "source_timely": included,
            "target_timely": included,
            "head_timely": np.array([True, False, False, False]),
            "miss_cause": [None, "late_inclusion", "not_included", "no_opportunity"],
            "cost": np.ma.array([0, 40, 170, 0], mask=[False, False, False, True]),
        },
    )


def rewards(epoch: int) -> pd.DataFrame:
    """Of an ideal of 100 gwei: 0 earned 100, 1 earned 60, 2 lost 70; of 3 the ideal is unknown."""
    source = np.array([20, 20, -20, -20])
    target = np.array([40, 40, -50, -50])
    head = np.array([40, 0, 0, 0])
    known = np.array([True, True, True, False])

    def ideal(amount: int) -> Any:
        return np.ma.array(np.full(4, amount), mask=~known)

    return conform(
        "attestation_rewards",
        {
            "epoch": epoch,
            "validator_index": VALIDATORS,
            "effective_balance": 32 * 10**9,
            "source_reward": source,
            "target_reward": target,
            "head_reward": head,
            "inactivity_penalty": 0,
            "total_reward": source + target + head,
            "ideal_source": ideal(20),
            "ideal_target": ideal(40),
            "ideal_head": ideal(40),
            "ideal_total": ideal(100),
            "attainable_total": None,
            "attainable_source": None,
            "attainable_target": None,
            "attainable_head": None,
            "missed_source": ideal(20) - source,
            "missed_target": ideal(40) - target,
            "missed_head": ideal(40) - head,
        },
    )


def scores(epoch: int) -> pd.DataFrame:
    return conform(
        "effectiveness_scores",
        {
            "epoch": epoch,
            "validator_index": VALIDATORS,
            "attestation_effectiveness": np.array([1.0, 0.5, 0.0, np.nan]),
            "reward_effectiveness": np.array([1.0, 0.6, -0.7, np.nan]),
            "attainable_effectiveness": np.nan,
            "proposer_effectiveness": np.nan,
            "sync_effectiveness": np.nan,
            "percentile_rank": np.nan,
            "network_percentile_rank": np.nan,
            "effective_balance_band": None,
            "band_percentile_rank": np.nan,
            "formula_version": 1,
        },
    )


def proposals(epoch: int) -> dict[str, pd.DataFrame]:
    """Validator 1 proposed one block and missed one; validator 900 is not watched."""
    slots = epoch * 8 + np.arange(3)
    return {
        "proposer_duties": conform(
            "proposer_duties",
            {
                "epoch": epoch,
                "slot": slots,
                "validator_index": [1, 1, 900],
                "outcome": ["proposed", "missed", "proposed"],
                "block_root": [b"a" * 32, None, b"b" * 32],
            },
        ),
        "block_rewards": conform(
            "block_rewards",
            {
                "epoch": epoch,
                "slot": slots[[0, 2]],
                "proposer_index": [1, 900],
                "total": [1000, 5000],
                "attestations": [1000, 5000],
                "sync_aggregate": 0,
                "proposer_slashings": 0,
                "attester_slashings": 0,
                "outcome": "proposed",
                "missed_estimate": None,
            },
        ),
    }


def sync(epoch: int, members: list[int]) -> dict[str, pd.DataFrame]:
    count = len(members)
    return {
        "sync_duties": conform(
            "sync_duties",
            {
                "epoch": np.full(count, epoch),
                "validator_index": np.array(members, dtype=np.int64),
                "seats": np.full(count, 1),
                "due": np.full(count, 7),
                "participated": np.full(count, 5),
                "missed": np.full(count, 2),
            },
        ),
        "sync_rewards": conform(
            "sync_rewards",
            {
                "epoch": np.full(count, epoch),
                "validator_index": np.array(members, dtype=np.int64),
                "reward": np.full(count, 30),
                "ideal_reward": np.ma.array(np.full(count, 70), mask=np.zeros(count, np.bool_)),
                "seats": np.full(count, 1),
                "seat_reward": np.ma.array(np.full(count, 10), mask=np.zeros(count, np.bool_)),
            },
        ),
    }


@pytest.fixture
def filled(warehouse: Warehouse) -> Warehouse:
    """Epochs 8, 9 and 12, the same in each; a sync committee only in 9."""
    return fill(warehouse, no_labels())


def fill(warehouse: Warehouse, labels: pd.DataFrame) -> Warehouse:
    for epoch in (8, 9, 12):
        frames = {
            "validator_snapshots": sample_frame("validator_snapshots", epoch, rows=4),
            "attestation_outcomes": outcomes(epoch),
            "attestation_rewards": rewards(epoch),
            "effectiveness_scores": scores(epoch),
            "network_epochs": sample_frame("network_epochs", epoch).assign(finalized=epoch != 12),
            **proposals(epoch),
            **sync(epoch, [0] if epoch == 9 else []),
            **{name: nothing(name) for name in ("validator_penalties", "balance_ledger")},
        }
        summaries = epoch_summaries_frame(
            epoch, frames, labels, np.unique(frames["validator_snapshots"]["validator_index"])
        )
        warehouse.replace_epoch(epoch, frames | {"epoch_summaries": summaries})
    return warehouse


def nothing(table: str) -> pd.DataFrame:
    return conform(table, {name: [] for name in contract_of(table).columns})


def operators(*labels: tuple[int, str, int, int | None]) -> pd.DataFrame:
    """Labels (validator, operator, from, until)."""
    validators, values, from_epochs, until_epochs = zip(*labels, strict=True)
    return conform(
        "validator_labels",
        {
            "validator_index": validators,
            "category": "operator",
            "from_epoch": from_epochs,
            "value": list(values),
            "until_epoch": np.ma.array(
                [until or 0 for until in until_epochs],
                mask=[until is None for until in until_epochs],
            ),
        },
    )


def test_an_empty_store_has_a_status(warehouse: Warehouse) -> None:
    status = storage_status(warehouse)
    assert (status.first_epoch, status.last_epoch, status.epoch_count) == (None, None, 0)
    assert status.gaps == ()
    assert status.network == DEVNET
    assert {table.rows for table in status.tables if table.name != "network_identity"} == {0}
    assert stored_epochs(warehouse) == []


def test_the_status_knows_epochs_gaps_rows_and_bytes(filled: Warehouse) -> None:
    status = storage_status(filled)
    assert (status.first_epoch, status.last_epoch, status.epoch_count) == (8, 12, 3)
    assert status.finalized_count == 2
    assert status.gaps == ((10, 11),)
    tables = {table.name: table for table in status.tables}
    assert tables["attestation_outcomes"].rows == 12
    assert not tables["attestation_outcomes"].rows_estimated
    assert tables["attestation_outcomes"].size_bytes > 0
    assert tables["network_epochs"].rows == 3
    assert tables["network_epochs"].size_bytes > 0
    assert stored_epochs(filled) == [8, 9, 12]


def test_rows_of_large_tables_are_estimated(
    filled: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_queries, "EXACT_COUNT_BYTES", 0)
    with filled.database.transaction("gather statistics") as connection:
        connection.exec_driver_sql(f"ANALYZE {filled.schema}.attestation_outcomes")
    tables = {table.name: table for table in storage_status(filled).tables}
    assert tables["attestation_outcomes"].rows_estimated
    assert tables["attestation_outcomes"].rows == 12


def test_a_history_has_a_row_per_epoch_with_everything_in_it(filled: Warehouse) -> None:
    history = validator_history(filled, 0)
    assert history["epoch"].tolist() == [8, 9, 12]
    assert history["inclusion_delay"].tolist() == [1, 1, 1]
    assert history["total_reward"].tolist() == [100, 100, 100]
    assert history["attestation_effectiveness"].tolist() == [1.0, 1.0, 1.0]
    assert history["sync_due"].isna().tolist() == [True, False, True]
    assert history["sync_reward"][1] == 30
    assert history["ideal_sync_reward"][1] == 70
    assert history["proposals"].isna().all()


def test_a_history_counts_proposals_and_their_blocks(filled: Warehouse) -> None:
    history = validator_history(filled, 1, [9, 11, 12])
    assert history["epoch"].tolist() == [9, 12]
    assert history["proposals"].tolist() == [2, 2]
    assert history["blocks_proposed"].tolist() == [1, 1]
    assert history["block_reward"].tolist() == [1000, 1000]


def test_validator_0_is_a_validator_and_99_has_no_history(filled: Warehouse) -> None:
    assert len(validator_history(filled, 0)) == 3
    assert len(validator_history(filled, 99)) == 0


def test_everybody_is_summed_up(filled: Warehouse) -> None:
    (summary,) = group_summary(filled, [8, 9, 12]).to_dict(orient="records")
    assert summary == {
        "group": "all",
        "validators": 4,
        "duties": 12,
        "missed": 3,
        "attestation_effectiveness": pytest.approx(0.5),
        "reward_effectiveness": pytest.approx((100 + 60 - 70) / 300),
        "incomplete_epochs": 3,
        "rewards_known": 12,
        # Attestations 20 per epoch, sync committee 30 once, validator 1's block 1000 per epoch.
        "earned_gwei": 3 * 20 + 30 + 3 * 1000,
        "missed_gwei": 3 * (0 + 40 + 170) + 40,
    }


def test_groups_are_those_of_the_labels_at_each_epoch(warehouse: Warehouse) -> None:
    labels = operators((0, "a", 0, None), (1, "a", 0, 9), (1, "b", 9, None), (2, "b", 0, None))
    summary = group_summary(fill(warehouse, labels), [8, 9], "operator").set_index("group")
    assert summary.index.tolist()[:2] == ["a", "b"]
    assert pd.isna(summary.index[2])
    assert summary["validators"].tolist() == [2, 2, 1]
    assert summary["duties"].tolist() == [3, 3, 2]
    assert summary["missed"].tolist() == [0, 2, 0]
    assert summary["earned_gwei"].tolist() == [100 + 60 + 1000 + 130, 60 + 1000 - 140, -140]


def test_epochs_without_rows_have_no_groups(filled: Warehouse) -> None:
    assert len(group_summary(filled, [])) == 0
    assert len(group_summary(filled, [10], "operator")) == 0


def test_a_history_is_read_through_the_key(filled: Warehouse) -> None:
    """The plan must not scan: at a million validators a scan of an epoch takes a second."""
    with filled.database.transaction("explain") as connection:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = connection.exec_driver_sql(
            f"EXPLAIN SELECT * FROM {filled.schema}.attestation_outcomes "
            "WHERE epoch = ANY('{8,9}') AND validator_index = ANY('{1}')"
        )
        text = "\n".join(row[0] for row in plan)
    assert "Index Scan" in text or "Bitmap Index Scan" in text
    assert "validator_index = ANY" in text.split("Index Cond")[1]
