"""Sums over facts: cut and grouped in any way, they are the sums of everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valmon_pipeline.frames.sums import sum_columns
from valmon_pipeline.scoring.effectiveness import ratio
from valmon_pipeline.scoring.facts import FACT_COLUMNS, add_facts
from valmon_pipeline.scoring.groups import groups_in_epoch
from valmon_pipeline.scoring.rollup import SumsByValidator
from valmon_pipeline_tests.sample_frames import sample_frame

FEW_VALIDATORS = 8
Facts = Mapping[str, pd.DataFrame]
FLOATS = {name for name in sum_columns() if name.endswith("_sum")} - {"inclusion_delay_sum"}


def facts_of(epoch: int, seed: int) -> dict[str, pd.DataFrame]:
    """Random facts of an epoch of which some validators have none; amounts that sums can hold."""
    random = np.random.default_rng([seed, epoch])
    facts = {}
    for table in FACT_COLUMNS:
        frame = sample_frame(table, epoch, rows=FEW_VALIDATORS, seed=seed)
        for name in frame.select_dtypes(["int64", "Int64"]).columns:
            frame[name] = frame[name] // 2**20
        who = "proposer_index" if table == "block_rewards" else "validator_index"
        if table in ("proposer_duties", "block_rewards"):
            frame[who] = random.integers(0, FEW_VALIDATORS + 2, len(frame))
        facts[table] = frame[random.random(len(frame)) < 0.8].reset_index(drop=True)
    return facts


def together(parts: Sequence[Facts]) -> dict[str, pd.DataFrame]:
    return {
        table: pd.concat([part[table] for part in parts], ignore_index=True)
        for table in FACT_COLUMNS
    }


def summed(pieces: Sequence[Facts]) -> SumsByValidator:
    sums = SumsByValidator()
    sums.include(np.arange(FEW_VALIDATORS))
    for piece in pieces:
        add_facts(sums, piece)
    return sums


def values(sums: Any) -> list[int | float | None]:
    found: list[int | float | None] = sums.tolist()
    return found


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 5), st.sets(st.integers(1, 4)))
def test_pieces_do_not_change_a_bit(seed: int, epochs: int, cuts: set[int]) -> None:
    parts = [facts_of(epoch, seed) for epoch in range(epochs)]
    ends = sorted({cut for cut in cuts if cut < epochs} | {epochs})
    pieces = [together(parts[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    whole = summed([together(parts)])
    cut = summed(pieces)
    for name in sum_columns():
        assert values(whole.total(name)) == values(cut.total(name)), name


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 2**32),
    st.integers(1, 4),
    st.lists(st.sampled_from(["", "a", "b"]), min_size=FEW_VALIDATORS, max_size=FEW_VALIDATORS),
)
def test_a_rollup_of_rollups_equals_the_direct_one(
    seed: int, epochs: int, operators: list[str]
) -> None:
    """Epochs by group and then added up, or validators over all epochs and then grouped."""
    parts = [facts_of(epoch, seed) for epoch in range(epochs)]
    labels = pd.DataFrame(
        [(index, "operator", 0, value) for index, value in enumerate(operators) if value],
        columns=["validator_index", "category", "from_epoch", "value"],
    ).assign(until_epoch=pd.array([None] * sum(map(bool, operators)), dtype="Int32"))
    groups = groups_in_epoch(np.arange(FEW_VALIDATORS), labels, 0)
    by_validator = summed(parts)
    for name in sum_columns():
        of_days = groups.total(by_validator.total(name))
        of_epochs = [groups.total(summed([part]).total(name)) for part in parts]
        added = sum(of_epochs[1:], of_epochs[0])
        if name in FLOATS:
            assert values(added) == pytest.approx(values(of_days), rel=1e-12)
        else:
            assert values(added) == values(of_days), name


def test_where_nothing_was_due_there_is_no_ratio() -> None:
    sums = SumsByValidator()
    sums.include(np.arange(3))
    add_facts(sums, {table: facts_of(0, 1)[table].head(0) for table in FACT_COLUMNS})
    for part, whole in (
        ("sync_participated", "sync_due"),
        ("proposals_proposed", "proposals_due"),
        ("scored_reward", "scored_ideal_reward"),
        ("attestation_effectiveness_sum", "attestation_effectiveness_duties"),
    ):
        assert values(sums.total(whole)) == [0, 0, 0]
        due = np.asarray(sums.total(whole), dtype=np.int64)
        assert np.isnan(ratio(np.asarray(sums.total(part)), due)).all()
