"""The scores of an epoch: every frame that is made from its facts, without a node."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.epoch.checks import SCORE_CHECKS, CheckResult
from valmon_pipeline.epoch.frame_registry import FrameRegistry
from valmon_pipeline.epoch.group_sums import epoch_summaries_frame
from valmon_pipeline.epoch.network_scores import (
    NetworkScores,
    network_bands_frame,
    stored_network_scores,
)
from valmon_pipeline.epoch.scores import Bands, effectiveness_scores_frame
from valmon_pipeline.scoring.rollup import MaskedIntegers

NETWORK_COLUMNS: Final = ("network_percentile_rank", "band_percentile_rank")
"""Scores that compare with validators whose rows may not be stored."""


@dataclass(frozen=True, slots=True)
class StoredScores:
    """The stored frames of an epoch whose scores are computed again."""

    effectiveness_scores: pd.DataFrame
    network_bands: pd.DataFrame


@dataclass(frozen=True, slots=True)
class ScoredNetwork:
    """What scores take beside the rows of facts.

    ``watched`` are the watched validators (n), ascending. ``bands`` are the effective balance bands
    of the rows of ``attestation_rewards``, masked where they are not known. ``everybody`` is the
    whole network's scores; None if only some are known. ``stored``: where the whole network is not
    known any more, what compares with it is kept from there.
    """

    watched: Int64Array
    bands: Bands
    everybody: NetworkScores | None
    stored: StoredScores | None = None

    @classmethod
    def of_stored(cls, facts: Mapping[str, pd.DataFrame], stored: StoredScores) -> ScoredNetwork:
        """Read it off stored frames of one epoch.

        The scores of the whole network are known if all of its rows are stored: as many as were
        counted when the epoch was read, each with a reward that is known.
        """
        scores = stored.effectiveness_scores
        rewards = facts["attestation_rewards"]
        bands = _stored_bands(scores, rewards)
        # Validators without a snapshot, where the states are not known, have a score.
        watched = np.unique(
            np.concatenate(
                [
                    frame["validator_index"].to_numpy(np.int64)
                    for frame in (facts["validator_snapshots"], scores)
                ]
            )
        )
        everybody = None
        counted = stored.network_bands
        if (
            len(rewards) > 0
            and counted["validators"].sum() == len(rewards)
            and not bands.mask.any()
            and not rewards["total_reward"].isna().any()
        ):
            everybody = stored_network_scores(
                rewards,
                facts["attestation_outcomes"],
                bands.filled(0),
                complete=bool(counted["reward"].notna().all()),
            )
        return cls(watched, bands, everybody, stored)


@dataclass(frozen=True, slots=True)
class _Epoch:
    epoch: int
    network: ScoredNetwork


def _effectiveness_scores(
    one: _Epoch,
    *,
    attestation_outcomes: pd.DataFrame,
    attestation_rewards: pd.DataFrame,
    proposer_duties: pd.DataFrame,
    sync_duties: pd.DataFrame,
    validator_snapshots: pd.DataFrame,
) -> pd.DataFrame:
    scores = effectiveness_scores_frame(
        one.epoch,
        network=one.network.everybody,
        bands=one.network.bands,
        attestation_outcomes=attestation_outcomes,
        attestation_rewards=attestation_rewards,
        proposer_duties=proposer_duties,
        sync_duties=sync_duties,
        watched=one.network.watched,
    )
    if one.network.everybody is None and one.network.stored is not None:
        return _with_kept_ranks(scores, one.network.stored.effectiveness_scores)
    return scores


def _network_bands(
    one: _Epoch,
    *,
    attestation_outcomes: pd.DataFrame,
    attestation_rewards: pd.DataFrame,
) -> pd.DataFrame:
    if one.network.everybody is None and one.network.stored is not None:
        return one.network.stored.network_bands
    return network_bands_frame(one.epoch, one.network.everybody)


def _epoch_summaries(
    one: _Epoch,
    *,
    attestation_outcomes: pd.DataFrame,
    attestation_rewards: pd.DataFrame,
    sync_duties: pd.DataFrame,
    sync_rewards: pd.DataFrame,
    proposer_duties: pd.DataFrame,
    block_rewards: pd.DataFrame,
    validator_penalties: pd.DataFrame,
    balance_ledger: pd.DataFrame,
    effectiveness_scores: pd.DataFrame,
    validator_labels: pd.DataFrame,
) -> pd.DataFrame:
    facts = {
        "effectiveness_scores": effectiveness_scores,
        "attestation_outcomes": attestation_outcomes,
        "attestation_rewards": attestation_rewards,
        "sync_duties": sync_duties,
        "sync_rewards": sync_rewards,
        "proposer_duties": proposer_duties,
        "block_rewards": block_rewards,
        "validator_penalties": validator_penalties,
        "balance_ledger": balance_ledger,
    }
    return epoch_summaries_frame(one.epoch, facts, validator_labels, one.network.watched)


SCORES: Final = FrameRegistry[_Epoch](
    {
        "effectiveness_scores": _effectiveness_scores,
        "network_bands": _network_bands,
        "epoch_summaries": _epoch_summaries,
    }
)
"""The score tables. Each is an asset."""


@dataclass(frozen=True, slots=True)
class ScoreFrames:
    """The score frames of one epoch by table, and the results of the checks on them."""

    epoch: int
    tables: Mapping[str, pd.DataFrame]
    checks: Sequence[CheckResult]


def compute_score_frames(
    epoch: int,
    facts: Mapping[str, pd.DataFrame],
    labels: pd.DataFrame,
    network: ScoredNetwork,
    wanted: Collection[str] | None = None,
) -> ScoreFrames:
    """Make the ``wanted`` score frames (all by default) of an epoch by this version's formulas.

    ``facts`` has the frames that ``SCORES.given`` names, of this epoch alone; ``labels`` is the
    frame ``validator_labels``. Pure.
    """
    one = _Epoch(epoch, network)
    given = {**facts, "validator_labels": labels}
    frames = SCORES.frames(one, given, wanted)
    checks = [
        check.run(epoch, network.watched, {**given, **frames})
        for check in SCORE_CHECKS
        if check.asset in frames
    ]
    chosen = {table: frames[table] for table in frames if wanted is None or table in wanted}
    return ScoreFrames(epoch, chosen, checks)


def _stored_bands(scores: pd.DataFrame, attestation_rewards: pd.DataFrame) -> MaskedIntegers:
    """The stored band of each row of ``attestation_rewards``, masked where it was not stored."""
    validators = attestation_rewards["validator_index"].to_numpy(np.int64)
    band = (
        pd.Series(scores["effective_balance_band"].to_numpy(), index=scores["validator_index"])
        .astype("Int64")
        .reindex(validators)
    )
    return np.ma.MaskedArray(
        band.to_numpy(np.int64, na_value=0), mask=band.isna().to_numpy(np.bool_)
    )


def _with_kept_ranks(scores: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """``scores`` with the stored ranks in the network where they cannot have changed.

    A rank among validators whose rows are not stored cannot be computed again. While a validator's
    own reward effectiveness is unchanged, that of all others is taken to be, too; otherwise its
    rank is unknown from now on.
    """
    before = stored.set_index("validator_index").reindex(scores["validator_index"])
    same = before["reward_effectiveness"].to_numpy() == scores["reward_effectiveness"].to_numpy()
    kept = {
        name: np.where(same, before[name].to_numpy(np.float64), np.nan) for name in NETWORK_COLUMNS
    }
    return scores.assign(**kept)
