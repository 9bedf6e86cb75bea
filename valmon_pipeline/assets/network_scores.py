"""How well everybody did, watched or not; known only with the whole registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from valmon_pipeline.assets.epoch_answers import EpochAnswers
from valmon_pipeline.assets.network_totals import NetworkTotals, slashed_when_rewarded
from valmon_pipeline.chain.attestations import AttestationOutcomes
from valmon_pipeline.chain.registry import BoolArray, Int64Array
from valmon_pipeline.chain.rewards import (
    AttestationRewardColumns,
    attestation_penalties,
    earned_attestation_rewards,
    ideal_attestation_rewards,
    is_inactivity_leak,
)
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.status import is_eligible
from valmon_pipeline.frames.conform import conform
from valmon_pipeline.frames.distributions import quantile_names
from valmon_pipeline.scoring.effectiveness import attestation_effectiveness, reward_effectiveness
from valmon_pipeline.scoring.ranking import QUANTILES, effective_balance_band, quantiles

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NetworkScores:
    """Scores of the validators (n, ascending) that got attestation rewards or penalties.

    ``reward`` is what the node reports, where it was asked, and else what the flags earned;
    inactivity penalties are only in what is reported. ``complete``: everything was reported, or
    there is no leak. Amounts are gwei.
    """

    validator_index: Int64Array
    effective_balance: Int64Array
    band: Int64Array
    reward: Int64Array
    ideal_reward: Int64Array
    reward_effectiveness: Float64Array
    attestation_effectiveness: Float64Array
    complete: bool

    def among(self, chosen: BoolArray) -> NetworkScores:
        """Those of the ``chosen`` validators (n)."""
        return NetworkScores(
            self.validator_index[chosen],
            self.effective_balance[chosen],
            self.band[chosen],
            self.reward[chosen],
            self.ideal_reward[chosen],
            self.reward_effectiveness[chosen],
            self.attestation_effectiveness[chosen],
            self.complete,
        )


def network_scores(
    spec: ChainSpec,
    answers: EpochAnswers,
    outcomes: AttestationOutcomes,
    totals: NetworkTotals | None,
) -> NetworkScores | None:
    """The scores of everybody in the epoch of ``answers``; None if only some are known."""
    if totals is None:
        return None
    slashed = slashed_when_rewarded(spec, answers)
    registry = replace(answers.registry_at_end, slashed=slashed)
    eligible = np.flatnonzero(is_eligible(registry, answers.epoch))
    validators = registry.validator_index[eligible]
    balance = registry.effective_balance[eligible]
    leak = is_inactivity_leak(spec, answers.epoch, answers.finalized_epoch_at_transition)
    ideal = ideal_attestation_rewards(
        spec, balance, totals.total_active_balance, totals.participating, inactivity_leak=leak
    )
    earned = _earned(spec, validators, balance, outcomes, totals, ideal, slashed[eligible])
    reward, reported = _reported(answers, validators, earned.total)
    return NetworkScores(
        validator_index=validators,
        effective_balance=balance,
        band=effective_balance_band(spec.min_activation_balance, balance),
        reward=reward,
        ideal_reward=ideal.total,
        reward_effectiveness=reward_effectiveness(reward, ideal.total),
        attestation_effectiveness=_attestation_effectiveness(validators, outcomes),
        complete=not leak or bool(reported.all()),
    )


def stored_network_scores(
    attestation_rewards: pd.DataFrame,
    attestation_outcomes: pd.DataFrame,
    bands: Int64Array,
    *,
    complete: bool,
) -> NetworkScores:
    """The same from stored frames of an epoch that hold everybody; ``bands`` are those of the rows
    of ``attestation_rewards``."""
    validators = attestation_rewards["validator_index"].to_numpy(np.int64)
    reward = attestation_rewards["total_reward"].to_numpy(np.int64)
    ideal = attestation_rewards["ideal_total"].to_numpy(np.int64)
    effectiveness = np.full(len(validators), np.nan)
    duties = attestation_outcomes["validator_index"].to_numpy(np.int64)
    rows = np.searchsorted(validators, duties)
    rewarded = np.append(validators, -1)[rows] == duties
    effectiveness[rows[rewarded]] = attestation_effectiveness(
        attestation_outcomes["slot"].to_numpy(np.int64),
        attestation_outcomes["earliest_inclusion_slot"].to_numpy(np.int64, na_value=-1),
        attestation_outcomes["inclusion_slot"].to_numpy(np.int64, na_value=-1),
    )[rewarded]
    return NetworkScores(
        validator_index=validators,
        effective_balance=attestation_rewards["effective_balance"].to_numpy(np.int64),
        band=bands,
        reward=reward,
        ideal_reward=ideal,
        reward_effectiveness=reward_effectiveness(reward, ideal),
        attestation_effectiveness=effectiveness,
        complete=complete,
    )


def _earned(
    spec: ChainSpec,
    validators: Int64Array,
    balance: Int64Array,
    outcomes: AttestationOutcomes,
    totals: NetworkTotals,
    ideal: AttestationRewardColumns,
    slashed: BoolArray,
) -> AttestationRewardColumns:
    rows = np.searchsorted(validators, outcomes.validator_index)

    def of_validators(flag: BoolArray) -> BoolArray:
        """Whoever is fined without a duty, as slashed validators after their exit, has no flag."""
        earned = np.zeros(len(validators), dtype=np.bool_)
        earned[rows] = flag
        return earned

    return earned_attestation_rewards(
        of_validators(outcomes.source_timely),
        of_validators(outcomes.target_timely),
        of_validators(outcomes.head_timely),
        ideal,
        attestation_penalties(spec, balance, totals.total_active_balance),
        slashed,
    )


def _reported(
    answers: EpochAnswers, validators: Int64Array, computed: Int64Array
) -> tuple[Int64Array, BoolArray]:
    """The node's rewards where it lists a validator (n), else ``computed``; whether it does."""
    listed = answers.attestation_rewards
    if len(listed.validator_index) == 0:
        return computed, np.zeros(len(validators), dtype=np.bool_)
    at = np.searchsorted(listed.validator_index, validators)
    at = np.minimum(at, len(listed.validator_index) - 1)
    reported: BoolArray = listed.validator_index[at] == validators
    total = listed.source + listed.target + listed.head + listed.inactivity
    return np.where(reported, total[at], computed), reported


def _attestation_effectiveness(
    validators: Int64Array, outcomes: AttestationOutcomes
) -> Float64Array:
    effectiveness = np.full(len(validators), np.nan)
    rows = np.searchsorted(validators, outcomes.validator_index)
    effectiveness[rows] = attestation_effectiveness(
        outcomes.slot, outcomes.earliest_inclusion_slot, outcomes.inclusion_slot
    )
    return effectiveness


def network_bands_frame(epoch: int, scores: NetworkScores | None) -> pd.DataFrame:
    """Frame ``network_bands``: a row per band that has validators; none if they are not known."""
    bands = np.zeros(0, dtype=np.int64) if scores is None else np.unique(scores.band)
    members = [] if scores is None else [scores.among(scores.band == band) for band in bands]

    def sums(of: Callable[[NetworkScores], Int64Array]) -> Int64Array:
        return np.array([of(band).sum() for band in members], dtype=np.int64)

    return conform(
        "network_bands",
        {
            "epoch": np.full(len(bands), epoch),
            "effective_balance_band": bands,
            "validators": sums(lambda band: np.ones(len(band.reward), dtype=np.int64)),
            "effective_balance": sums(lambda band: band.effective_balance),
            "reward": np.ma.array(
                sums(lambda band: band.reward), mask=[not band.complete for band in members]
            ),
            "ideal_reward": sums(lambda band: band.ideal_reward),
            "attestation_effectiveness_sum": np.array(
                [np.nansum(band.attestation_effectiveness) for band in members], dtype=np.float64
            ),
            "attestation_effectiveness_duties": sums(
                lambda band: (~np.isnan(band.attestation_effectiveness)).astype(np.int64)
            ),
            **quantile_values(members),
        },
    )


def quantile_values(members: Sequence[NetworkScores | None]) -> dict[str, Float64Array]:
    """The quantiles of both scores by column, a value per group of validators; NaN if unknown."""
    values: dict[str, Float64Array] = {}
    for score in ("reward_effectiveness", "attestation_effectiveness"):
        rows = [
            quantiles(np.zeros(0) if group is None else getattr(group, score)) for group in members
        ]
        by_quantile = np.array(rows, dtype=np.float64).reshape(len(rows), len(QUANTILES)).T
        values |= dict(zip(quantile_names(score), by_quantile, strict=True))
    return values
