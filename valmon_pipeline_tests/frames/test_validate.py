"""What breaks a contract, and how it is told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.errors import ContractViolationError
from valmon_pipeline.frames import validate, violations
from valmon_pipeline_tests.sample_frames import sample_frame


def test_all_breaches_are_told_at_once_with_counts_and_five_examples() -> None:
    frame = sample_frame("attestation_duties", rows=20)
    frame["slot"] = np.full(20, -1, dtype=np.int32)
    frame.loc[3, "committee_position"] = 1000
    broken = {violation.rule: violation for violation in violations("attestation_duties", frame)}
    assert broken["at least 0"].column == "slot"
    assert broken["at least 0"].failing_count == 20
    assert len(broken["at least 0"].examples) == 5
    assert broken["at least 0"].examples[0] == {"epoch": 7, "validator_index": 0, "slot": -1}
    assert broken["committee_position is below committee_length"].failing_count == 1
    with pytest.raises(ContractViolationError, match="were not stored") as raised:
        validate("attestation_duties", frame)
    assert raised.value.table == "attestation_duties"


def test_rows_with_the_same_key_are_found_in_any_order() -> None:
    frame = sample_frame("attestation_duties", rows=10)
    doubled = pd.concat([frame, frame.iloc[[4]]])
    (violation,) = violations("attestation_duties", doubled)
    assert violation.rule == "one row per (epoch, validator_index)"
    assert violation.failing_count == 2
    assert {example["validator_index"] for example in violation.examples} == {4}
    assert violations("attestation_duties", frame.sample(frac=1, random_state=1)) == ()


def test_null_in_a_required_column_is_found() -> None:
    frame = sample_frame("network_outcomes", rows=3)
    frame.loc[1, "status"] = None
    (violation,) = violations("network_outcomes", frame)
    assert (violation.column, violation.rule) == ("status", "must not be NULL")
    assert violation.examples == ({"epoch": 7, "outcome": 1, "status": None},)


def test_a_wrong_type_is_told_once_and_not_as_failed_checks() -> None:
    frame = sample_frame("attestation_duties").astype({"slot": "float64"})
    (violation,) = violations("attestation_duties", frame)
    assert (violation.column, violation.rule) == ("slot", "must be int32, is float64")


def test_other_categories_are_a_wrong_type() -> None:
    frame = sample_frame("proposer_duties", rows=2)
    frame["outcome"] = pd.Categorical(["won", "lost"])
    assert [violation.column for violation in violations("proposer_duties", frame)] == ["outcome"]


def test_a_missing_column_is_named() -> None:
    frame = sample_frame("attestation_duties").drop(columns="slot")
    assert any("slot" in str(violation) for violation in violations("attestation_duties", frame))


@pytest.mark.parametrize("value", [b"short", "text" * 8, 32])
def test_roots_have_their_length(value: object) -> None:
    frame = sample_frame("network_epochs")
    frame["window_root"] = pd.Series([value], dtype="object")
    (violation,) = violations("network_epochs", frame)
    assert (violation.column, violation.rule) == ("window_root", "32 bytes")


@pytest.mark.parametrize("value", [1.5, -0.1, float("inf")])
def test_shares_stay_between_zero_and_one(value: float) -> None:
    frame = sample_frame("effectiveness_scores", rows=1)
    frame["attestation_effectiveness"] = value
    assert {violation.column for violation in violations("effectiveness_scores", frame)} == {
        "attestation_effectiveness"
    }


def test_reward_effectiveness_may_be_negative_but_not_infinite() -> None:
    frame = sample_frame("effectiveness_scores", rows=1)
    frame["reward_effectiveness"] = -3.5
    assert violations("effectiveness_scores", frame) == ()
    frame["reward_effectiveness"] = -np.inf
    assert len(violations("effectiveness_scores", frame)) == 1


@pytest.mark.parametrize(
    ("table", "column", "rule"),
    [
        ("attestation_rewards", "total_reward", "total_reward = source"),
        ("attestation_rewards", "ideal_total", "ideal_total = ideal_source"),
        ("block_rewards", "total", "total is the sum"),
        ("sync_duties", "due", "due = participated"),
        ("attestation_outcomes", "inclusion_delay", "inclusion_delay = inclusion_slot"),
    ],
)
def test_sums_must_add_up(table: str, column: str, rule: str) -> None:
    frame = sample_frame(table)
    frame[column] += 1
    assert any(violation.rule.startswith(rule) for violation in violations(table, frame))


def test_what_was_not_included_cannot_be_timely() -> None:
    frame = sample_frame("attestation_outcomes")
    frame.loc[~frame["included"], "source_timely"] = True
    (violation,) = violations("attestation_outcomes", frame)
    assert violation.failing_count == int((~frame["included"]).sum())


def test_a_missed_slot_has_no_root() -> None:
    frame = sample_frame("blocks")
    frame["block_root"] = pd.Series([b"r" * 32] * len(frame), dtype="object")
    missed = int((frame["status"] == "missed").sum())
    assert missed
    assert [violation.failing_count for violation in violations("blocks", frame)] == [missed]
