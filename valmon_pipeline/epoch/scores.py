"""Group ``scores``: how well each validator did, from the facts of this epoch alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.epoch.network_scores import NetworkScores
from valmon_pipeline.frames.conform import conform
from valmon_pipeline.scoring.effectiveness import (
    FORMULA_VERSION,
    attainable_effectiveness,
    attestation_effectiveness,
    ratio,
    reward_effectiveness,
)
from valmon_pipeline.scoring.ranking import (
    band_percentile_rank,
    percentile_rank,
    percentile_rank_among,
)

Float64Array = npt.NDArray[np.float64]
Bands = Int64Array | np.ma.MaskedArray[tuple[int, ...], np.dtype[np.int64]]


def effectiveness_scores_frame(
    epoch: int,
    *,
    network: NetworkScores | None,
    bands: Bands,
    attestation_outcomes: pd.DataFrame,
    attestation_rewards: pd.DataFrame,
    proposer_duties: pd.DataFrame,
    sync_duties: pd.DataFrame,
    watched: Int64Array,
) -> pd.DataFrame:
    """Frame ``effectiveness_scores``: a row per watched validator that had any duty or reward.

    The other frames are those of the same epoch, as stored. A score is NULL where nothing was due,
    where the ideal reward is zero (an inactivity leak), and where something that it goes by is not
    known. The percentile ranks are those of the reward effectiveness: among the watched whose
    reward is known, and, where ``network`` is known, among everybody and among those of the same
    band of effective balances. ``bands`` are those of the rows of ``attestation_rewards``, masked
    where they are unknown.
    """
    proposers = proposer_duties["validator_index"].to_numpy(np.int64, na_value=-1)
    # A slot whose owner is not known may have been missed by anybody.
    all_owned = bool((proposers >= 0).all())
    ours = np.isin(proposers, watched)
    proposed = (proposer_duties["outcome"] == "proposed").to_numpy(np.bool_)
    proposers, proposed = proposers[ours], proposed[ours]
    validators = np.unique(
        np.concatenate(
            [
                frame["validator_index"].to_numpy(np.int64)
                for frame in (attestation_outcomes, attestation_rewards, sync_duties)
            ]
            + [proposers]
        )
    )

    def spread(frame: pd.DataFrame, values: Float64Array) -> Float64Array:
        column = np.full(len(validators), np.nan)
        rows = np.searchsorted(validators, frame["validator_index"].to_numpy(np.int64))
        column[rows] = values
        return column

    due, done = np.zeros((2, len(validators)), dtype=np.int64)
    np.add.at(due, np.searchsorted(validators, proposers), 1)
    np.add.at(done, np.searchsorted(validators, proposers), proposed.astype(np.int64))

    rewards = spread(
        attestation_rewards,
        reward_effectiveness(
            attestation_rewards["total_reward"].to_numpy(np.int64, na_value=0),
            _where_known(attestation_rewards, "ideal_total"),
        ),
    )
    unknown = np.full(len(validators), np.nan)
    band = np.ma.array(np.zeros(len(validators), dtype=np.int64), mask=True)
    band[np.searchsorted(validators, attestation_rewards["validator_index"].to_numpy(np.int64))] = (
        bands
    )
    return conform(
        "effectiveness_scores",
        {
            "epoch": np.full(len(validators), epoch),
            "validator_index": validators,
            "attestation_effectiveness": spread(
                attestation_outcomes,
                attestation_effectiveness(
                    attestation_outcomes["slot"].to_numpy(np.int64),
                    attestation_outcomes["earliest_inclusion_slot"].to_numpy(np.int64, na_value=-1),
                    attestation_outcomes["inclusion_slot"].to_numpy(np.int64, na_value=-1),
                ),
            ),
            "reward_effectiveness": rewards,
            "attainable_effectiveness": spread(
                attestation_rewards,
                attainable_effectiveness(
                    attestation_rewards["total_reward"].to_numpy(np.int64, na_value=0),
                    _where_known(attestation_rewards, "attainable_total"),
                ),
            ),
            "proposer_effectiveness": ratio(done, due) if all_owned else unknown,
            "sync_effectiveness": spread(
                sync_duties,
                ratio(
                    sync_duties["participated"].to_numpy(np.int64),
                    sync_duties["due"].to_numpy(np.int64),
                ),
            ),
            "percentile_rank": percentile_rank(rewards),
            "network_percentile_rank": unknown
            if network is None
            else percentile_rank_among(rewards, network.reward_effectiveness, network.validators),
            "effective_balance_band": band,
            "band_percentile_rank": unknown
            if network is None
            else band_percentile_rank(
                rewards,
                band.filled(-1),
                network.reward_effectiveness,
                network.band,
                network.validators,
            ),
            "formula_version": np.full(len(validators), FORMULA_VERSION),
        },
    )


def _where_known(attestation_rewards: pd.DataFrame, column: str) -> Int64Array:
    """A column (n), gwei; 0, to which nothing has a ratio, where it or the reward is not known."""
    values = attestation_rewards[column].to_numpy(np.int64, na_value=0)
    known = attestation_rewards["total_reward"].notna().to_numpy(np.bool_)
    return np.where(known, values, np.int64(0))
