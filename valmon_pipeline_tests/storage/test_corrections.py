"""A stored row never changes without an entry that says what changed and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.frames import TABLES, contract_of
from valmon_pipeline.storage.corrections import (
    NOT_COMPARED,
    changed_values,
)
from valmon_pipeline.storage.standings_due import MATERIALIZED_AGAIN
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.sample_frames import sample_frame

EPOCH_TABLES = tuple(name for name, contract in TABLES.items() if contract.by_epoch)


def entries(changes: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Rows as tuples, NULL as None."""
    return [
        tuple(None if pd.isna(value) else value for value in row)
        for row in changes.drop(columns=["table_name"]).itertuples(index=False)
    ]


def corrections(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    columns = ["correction_id", "table_name", "epoch", "validator_index"]
    columns += ["column_name", "old_value", "new_value", "reason"]
    frame = warehouse.read("corrections", columns=columns)
    return [
        tuple(None if pd.isna(value) else value for value in row)
        for row in frame.itertuples(index=False)
    ]


def replaced(frame: pd.DataFrame, column: str, row: int, value: object) -> pd.DataFrame:
    """A copy of the frame with one value exchanged; types stay."""
    values = frame[column].astype(object).to_list()
    values[row] = value
    return frame.assign(**{column: pd.Series(values, dtype=frame[column].dtype)})


@pytest.mark.parametrize("table", EPOCH_TABLES)
def test_the_same_rows_are_no_change(table: str) -> None:
    frame = sample_frame(table)
    changes = changed_values(contract_of(table), frame, sample_frame(table), np.arange(99))
    assert len(changes) == 0


@pytest.mark.parametrize("table", EPOCH_TABLES)
def test_every_value_that_differs_is_found(table: str) -> None:
    contract = contract_of(table)
    stored, new = sample_frame(table, seed=1), sample_frame(table, seed=2)
    found = changed_values(contract, stored, new, np.arange(99))
    expected = sum(
        (a is None) != (b is None) or (a is not None and a != b)
        for column in contract.columns
        if column not in contract.key
        and not isinstance(stored[column].dtype, pd.DatetimeTZDtype)
        and (table, column) not in NOT_COMPARED
        for a, b in zip(_objects(stored[column]), _objects(new[column]), strict=True)
    )
    assert len(found) == expected > 0


def _objects(values: pd.Series) -> list[object]:
    return [None if pd.isna(value) else value for value in values.astype(object)]


def test_values_are_written_out() -> None:
    contract = contract_of("blocks")
    stored = sample_frame("blocks", rows=4)
    new = replaced(stored, "block_root", 2, b"\xab" * 32)
    new = replaced(new, "status", 2, "orphaned" if stored["status"][2] != "orphaned" else "missed")
    root = stored["block_root"][2]
    changes = {row[2]: row for row in entries(changed_values(contract, stored, new, np.arange(9)))}
    old = None if pd.isna(root) else f"0x{root.hex()}"
    assert changes["block_root"] == (2, None, "block_root", old, "0x" + "ab" * 32)
    assert changes["status"][3:] == (stored["status"][2], new["status"][2])


def test_a_row_that_goes_or_appears_has_an_entry_per_column() -> None:
    contract = contract_of("sync_rewards")
    whole = sample_frame("sync_rewards", rows=5)
    whole = whole.assign(reward=whole["reward"].fillna(-7))
    without = whole.drop(index=3).reset_index(drop=True)
    gone = entries(changed_values(contract, whole, without, np.arange(5)))
    appeared = entries(changed_values(contract, without, whole, np.arange(5)))
    assert {entry[:2] for entry in gone} == {(None, 3)}
    assert [entry[:4] for entry in gone] == [(*e[:3], e[4]) for e in appeared]
    assert all(entry[4] is None for entry in gone)
    assert ("reward", str(whole["reward"][3])) in {entry[2:4] for entry in gone}


def test_rows_of_validators_that_were_not_watched_are_no_correction() -> None:
    contract = contract_of("attestation_duties")
    new = sample_frame("attestation_duties", rows=5)
    watched = np.array([0, 1, 2])
    assert not len(changed_values(contract, new.iloc[:3].reset_index(drop=True), new, watched))


def test_a_million_rows_are_compared_at_once() -> None:
    contract = contract_of("attestation_rewards")
    stored = sample_frame("attestation_rewards", rows=1_000_000)
    new = stored.assign(source_reward=stored["source_reward"] + 1)
    known = int(stored["source_reward"].notna().sum())
    assert known > 500_000
    assert len(changed_values(contract, stored, new, np.arange(1))) == known


def test_replacing_a_stored_epoch_keeps_what_changed(warehouse: Warehouse) -> None:
    epoch, rewards = sample_frame("network_epochs"), sample_frame("sync_rewards", rows=4)
    first = {"network_epochs": epoch, "sync_rewards": rewards}
    assert "corrections" not in warehouse.replace_epoch(7, first)
    assert "corrections" not in warehouse.replace_epoch(7, first)
    warehouse.replace_epoch(7, {"validator_snapshots": sample_frame("validator_snapshots", rows=4)})
    corrections(warehouse)

    before = len(corrections(warehouse))
    changed = replaced(rewards, "reward", 1, int(rewards["reward"][1]) + 5)
    stored = warehouse.replace_epoch(7, {"sync_rewards": changed}, correction_reason="reorg")
    assert stored == {"sync_rewards": 4, "corrections": 1}
    old, new = (str(frame["reward"][1]) for frame in (rewards, changed))
    assert corrections(warehouse)[before:] == [
        (before + 1, "sync_rewards", 7, 1, "reward", old, new, "reorg")
    ]
    warehouse.replace_epoch(7, {"sync_rewards": rewards})
    assert corrections(warehouse)[before + 1 :] == [
        (before + 2, "sync_rewards", 7, 1, "reward", new, old, MATERIALIZED_AGAIN)
    ]


def test_an_epoch_that_was_not_materialized_has_nothing_to_correct(warehouse: Warehouse) -> None:
    warehouse.replace_epoch(7, {"proposer_duties": sample_frame("proposer_duties", seed=1)})
    warehouse.replace_epoch(7, {"proposer_duties": sample_frame("proposer_duties", seed=2)})
    assert corrections(warehouse) == []
