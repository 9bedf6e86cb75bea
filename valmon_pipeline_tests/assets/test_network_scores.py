"""The whole network's rewards and ranks: computed from flags, against what the node reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import mean

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.chain.attestations import attestation_outcomes
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.network_scores import (
    NetworkScores,
    network_bands_frame,
    network_scores,
)
from valmon_pipeline.epoch.network_totals import network_totals
from valmon_pipeline.frames.distributions import quantile_names
from valmon_pipeline_tests.assets.epochs import FEW, NETWORK, Computed, compute
from valmon_pipeline_tests.recording import FIRST_EPOCH, LAST_EPOCH, devnet

EPOCHS = range(FIRST_EPOCH, LAST_EPOCH + 1)
LEAK_EPOCHS = range(21, 27)
QUIET_EPOCHS = range(14, 21)
"""Before the leak: no score of inactivity costs anybody anything."""

ETH = 10**9


@pytest.fixture(scope="module")
def everybody(true_node_url: str) -> Computed:
    return compute(true_node_url, NETWORK, EPOCHS)


@pytest.fixture(scope="module")
def few(true_node_url: str) -> Computed:
    """A few watched of a network small enough to be read as a whole."""
    return compute(true_node_url, Watch(indices=FEW.indices), EPOCHS)


def scores_of(computed: Computed, answers: EpochAnswers) -> NetworkScores:
    blocks = [answers.blocks[slot] for slot in answers.canonical.slot.tolist()]
    assert answers.committees is not None
    outcomes = attestation_outcomes(
        computed.spec, answers.epoch, answers.committees, answers.canonical, blocks
    )
    totals = network_totals(computed.spec, answers, outcomes)
    scores = network_scores(computed.spec, answers, outcomes, totals)
    assert scores is not None
    return scores


def unreported(answers: EpochAnswers) -> EpochAnswers:
    """The same, as if the node had not been asked for anybody's rewards."""
    nothing = np.zeros(0, dtype=np.int64)
    assert answers.attestation_rewards is not None
    rewards = replace(
        answers.attestation_rewards,
        validator_index=nothing,
        source=nothing,
        target=nothing,
        head=nothing,
        inactivity=nothing,
    )
    return replace(answers, attestation_rewards=rewards)


def test_rewards_computed_from_flags_are_those_of_the_node(everybody: Computed) -> None:
    """To the gwei, for everybody, in the leak and after slashings too; all but inactivity."""
    for epoch, answers in everybody.answers.items():
        scores = scores_of(everybody, unreported(answers))
        reported = devnet().attestation_rewards(epoch).total
        assert scores.reward.tolist() == [
            reported[index]["source"] + reported[index]["target"] + reported[index]["head"]
            for index in sorted(reported)
        ]
        assert scores.complete == (epoch not in LEAK_EPOCHS)


def test_the_distribution_is_that_of_the_rewards_that_the_node_reports(
    everybody: Computed, few: Computed
) -> None:
    for epoch in QUIET_EPOCHS:
        reported = devnet().attestation_rewards(epoch)
        row = few.frames[epoch].tables["network_epochs"].iloc[0]
        at_end = everybody.answers[epoch].registry_at_end
        assert at_end is not None
        registry = dict(
            zip(
                at_end.validator_index.tolist(),
                at_end.effective_balance.tolist(),
                strict=True,
            )
        )
        shares = []
        for index, parts in reported.total.items():
            ideal = reported.ideal[registry[index]]
            whole = ideal["source"] + ideal["target"] + ideal["head"]
            if whole:
                shares.append(sum(parts.values()) / whole)
        for name, percent in zip(
            quantile_names("reward_effectiveness"), (5, 25, 50, 75, 95), strict=True
        ):
            assert row[name] == pytest.approx(np.percentile(shares, percent), rel=1e-12)


def bands(computed: Computed) -> Iterator[tuple[int, pd.DataFrame]]:
    for epoch, frames in computed.frames.items():
        yield epoch, frames.tables["network_bands"]


def test_bands_are_those_of_everybody_whoever_is_watched(
    everybody: Computed, few: Computed
) -> None:
    for epoch in QUIET_EPOCHS:
        pd.testing.assert_frame_equal(
            few.frames[epoch].tables["network_bands"],
            everybody.frames[epoch].tables["network_bands"],
        )


def test_bands_add_up_to_what_is_stored_of_everybody(everybody: Computed) -> None:
    seen = set()
    for epoch, frame in bands(everybody):
        tables = everybody.frames[epoch].tables
        rewards, scores = tables["attestation_rewards"], tables["effectiveness_scores"]
        band = dict(zip(scores["validator_index"], scores["effective_balance_band"], strict=True))
        of_row = rewards["validator_index"].map(band)
        assert frame["validators"].sum() == len(rewards)
        for row in frame.to_dict("records"):
            lower = row["effective_balance_band"]
            members = rewards[of_row == lower]
            assert row["validators"] == len(members)
            assert row["effective_balance"] == members["effective_balance"].sum()
            assert row["reward"] == members["total_reward"].sum()
            assert row["ideal_reward"] == members["ideal_total"].sum()
            upper = 2 * lower if lower else 32 * ETH
            assert members["effective_balance"].between(lower, upper - 1).all()
            judged = scores[scores["validator_index"].isin(members["validator_index"])]
            shares = judged["attestation_effectiveness"].dropna()
            assert row["attestation_effectiveness_duties"] == len(shares)
            assert row["attestation_effectiveness_sum"] == pytest.approx(shares.sum(), rel=1e-12)
            seen.add(lower)
    assert {0, 32 * ETH} < seen


def test_in_a_leak_rewards_of_those_who_are_not_watched_are_unknown(
    everybody: Computed, few: Computed
) -> None:
    for epoch in LEAK_EPOCHS:
        for computed, known in ((everybody, True), (few, False)):
            frame = computed.frames[epoch].tables["network_bands"]
            assert frame["reward"].notna().tolist() == [known] * len(frame)
            assert (frame["ideal_reward"] == 0).all()
            assert frame[list(quantile_names("reward_effectiveness"))].isna().all(axis=None)
            network = computed.frames[epoch].tables["network_epochs"]
            assert network[list(quantile_names("reward_effectiveness"))].isna().all(axis=None)
            assert network[list(quantile_names("attestation_effectiveness"))].notna().all(axis=None)


def test_without_the_registry_there_are_no_bands_and_no_ranks(true_node_url: str) -> None:
    computed = compute(true_node_url, FEW, [18])
    tables = computed.frames[18].tables
    assert len(tables["network_bands"]) == 0
    assert len(network_bands_frame(18, None)) == 0
    names = list(quantile_names("reward_effectiveness"))
    assert tables["network_epochs"][names].isna().all(axis=None)
    scores = tables["effectiveness_scores"]
    assert scores[["network_percentile_rank", "band_percentile_rank"]].isna().all(axis=None)
    assert scores["effective_balance_band"].notna().any()


def test_ranks_within_bands_average_a_half(everybody: Computed) -> None:
    for epoch, frames in everybody.frames.items():
        scores = frames.tables["effectiveness_scores"]
        ranked = scores[scores["reward_effectiveness"].notna()]
        assert len(ranked) or epoch in LEAK_EPOCHS
        pd.testing.assert_series_equal(
            ranked["network_percentile_rank"], ranked["percentile_rank"], check_names=False
        )
        for _, members in ranked.groupby("effective_balance_band"):
            assert mean(members["band_percentile_rank"]) == pytest.approx(0.5)
