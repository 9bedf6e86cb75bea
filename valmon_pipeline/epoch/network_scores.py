"""How well everybody did, watched or not; known only with the whole registry, or from a state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from valmon_pipeline.chain.attestations import AttestationOutcomes
from valmon_pipeline.chain.registry import BoolArray, Int64Array
from valmon_pipeline.chain.rewards import (
    AttestationPenalties,
    AttestationRewardColumns,
    attestation_penalties,
    earned_attestation_rewards,
    ideal_attestation_rewards,
)
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.state_rewards import StateRewards
from valmon_pipeline.chain.status import is_eligible
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.network_epoch import counted_rewards, require_same_validators
from valmon_pipeline.epoch.network_totals import (
    NetworkTotals,
    are_named,
    leak_of,
    slashed_when_rewarded,
)
from valmon_pipeline.frames.conform import conform
from valmon_pipeline.frames.distributions import quantile_names
from valmon_pipeline.scoring.effectiveness import attestation_effectiveness, reward_effectiveness
from valmon_pipeline.scoring.ranking import (
    QUANTILES,
    effective_balance_band,
    quantiles,
    quantiles_of_counted,
)
from valmon_pipeline.scoring.rollup import MaskedIntegers

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NetworkScores:
    """Scores of everybody that got attestation rewards or penalties.

    Reward columns (m): ``validators`` counts those who share the row's ``effective_balance``,
    ``band``, ``reward``, ``ideal_reward`` (gwei each) and ``reward_effectiveness``.
    Duty columns (d): ``duty_band`` and ``attestation_effectiveness`` of each duty that could be
    judged.

    ``reward`` is that of the state, where it was read; else what the node reports, where it was
    asked, and else what the flags earned; inactivity penalties are not in the last. ``complete``:
    they are in all of them, or there is no leak.
    """

    band: Int64Array
    validators: Int64Array
    effective_balance: Int64Array
    reward: Int64Array
    ideal_reward: Int64Array
    reward_effectiveness: Float64Array
    duty_band: Int64Array
    attestation_effectiveness: Float64Array
    complete: bool

    def among(self, band: int) -> NetworkScores:
        """Those of one band."""
        rows, duties = self.band == band, self.duty_band == band
        return NetworkScores(
            self.band[rows],
            self.validators[rows],
            self.effective_balance[rows],
            self.reward[rows],
            self.ideal_reward[rows],
            self.reward_effectiveness[rows],
            self.duty_band[duties],
            self.attestation_effectiveness[duties],
            self.complete,
        )


def network_scores(
    spec: ChainSpec,
    answers: EpochAnswers,
    outcomes: AttestationOutcomes | None,
    totals: NetworkTotals,
) -> NetworkScores | None:
    """The scores of everybody in the epoch of ``answers``; None if only some are known, or what
    their rewards go by.

    Without the node's rewards those that were computed lack penalties of inactivity: rewards are
    not known then, and have no effectiveness.

    Raises:
        ChainRuleViolationError: state and committees are of two chains.
    """
    if outcomes is not None and not are_named(outcomes.validator_index):
        outcomes = None
    if answers.network_rewards is not None:
        return _scores_by_state(spec, answers.network_rewards, outcomes)
    registry, leak = answers.registry_at_end, leak_of(spec, answers)
    if (
        not answers.whole_registry
        or registry is None
        or outcomes is None
        or leak is None
        or totals.total_active_balance is None
        or totals.participating is None
    ):
        return None
    slashed = slashed_when_rewarded(spec, answers, registry)
    registry = replace(registry, slashed=slashed)
    eligible = np.flatnonzero(is_eligible(registry, answers.epoch))
    validators = registry.validator_index[eligible]
    balance = registry.effective_balance[eligible]
    total = totals.total_active_balance
    ideal = ideal_attestation_rewards(
        spec, balance, total, totals.participating, inactivity_leak=leak
    )
    penalties = attestation_penalties(spec, balance, total)
    earned = _earned(validators, outcomes, ideal, penalties, slashed[eligible])
    reward, reported = _reported(answers, validators, earned.total)
    return _scores_by_validator(
        balance,
        effective_balance_band(spec.min_activation_balance, balance),
        np.ma.array(reward, mask=answers.attestation_rewards is None),
        ideal.total,
        _attestation_effectiveness(validators, outcomes),
        complete=not leak or bool(reported.all()),
    )


def _scores_by_state(
    spec: ChainSpec, rewards: StateRewards, outcomes: AttestationOutcomes | None
) -> NetworkScores:
    """Without ``outcomes`` nobody's duty can be judged."""
    counted = counted_rewards(rewards)
    members = counted.validators > 0
    bands = effective_balance_band(spec.min_activation_balance, counted.effective_balance)
    bands_of_groups = bands[: len(rewards.groups.validators)]
    # By validator, as from any other source, so that their sums are the same to the last digit.
    of_attestations = np.full(len(rewards.group), np.nan)
    if outcomes is not None:
        require_same_validators(rewards, outcomes.validator_index)
        of_attestations[outcomes.validator_index] = attestation_effectiveness(
            outcomes.slot, outcomes.earliest_inclusion_slot, outcomes.inclusion_slot
        )
    judged = np.flatnonzero(~np.isnan(of_attestations))
    return NetworkScores(
        band=bands[members],
        validators=counted.validators[members],
        effective_balance=counted.effective_balance[members],
        reward=counted.reward[members],
        ideal_reward=counted.ideal_reward[members],
        reward_effectiveness=counted.reward_effectiveness[members],
        duty_band=bands_of_groups[rewards.group[judged]],
        attestation_effectiveness=of_attestations[judged],
        complete=True,
    )


def _scores_by_validator(
    effective_balance: Int64Array,
    band: Int64Array,
    reward: MaskedIntegers,
    ideal_reward: Int64Array,
    of_attestations: Float64Array,
    *,
    complete: bool,
) -> NetworkScores:
    """A row per validator (n); ``of_attestations`` (n) is NaN without a duty, ``reward`` (n) masked
    where it is not known."""
    unknown = np.ma.getmaskarray(reward)
    gwei = reward.filled(0)
    on_duty = ~np.isnan(of_attestations)
    return NetworkScores(
        band=band,
        validators=np.ones(len(band), dtype=np.int64),
        effective_balance=effective_balance,
        reward=gwei,
        ideal_reward=ideal_reward,
        reward_effectiveness=np.where(unknown, np.nan, reward_effectiveness(gwei, ideal_reward)),
        duty_band=band[on_duty],
        attestation_effectiveness=of_attestations[on_duty],
        complete=complete and not bool(unknown.any()),
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
    known = attestation_rewards["total_reward"].notna().to_numpy(np.bool_)
    reward = np.ma.array(
        attestation_rewards["total_reward"].to_numpy(np.int64, na_value=0), mask=~known
    )
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
    return _scores_by_validator(
        attestation_rewards["effective_balance"].to_numpy(np.int64),
        bands,
        reward,
        ideal,
        effectiveness,
        complete=complete,
    )


def _earned(
    validators: Int64Array,
    outcomes: AttestationOutcomes,
    ideal: AttestationRewardColumns,
    penalties: AttestationPenalties,
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
        penalties,
        slashed,
    )


def _reported(
    answers: EpochAnswers, validators: Int64Array, computed: Int64Array
) -> tuple[Int64Array, BoolArray]:
    """The rewards that are known of each validator (n), else ``computed``; which are known."""
    listed = answers.attestation_rewards
    if listed is None or not len(listed):
        return computed, np.zeros(len(validators), dtype=np.bool_)
    at = np.searchsorted(listed.validator_index, validators)
    at = np.minimum(at, len(listed.validator_index) - 1)
    reported: BoolArray = listed.validator_index[at] == validators
    if listed.inactivity_known is not None:
        reported &= listed.inactivity_known[at]
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
    members = [] if scores is None else [scores.among(band) for band in bands.tolist()]

    def sums(of: Callable[[NetworkScores], Int64Array]) -> Int64Array:
        return np.array([of(band).sum() for band in members], dtype=np.int64)

    return conform(
        "network_bands",
        {
            "epoch": np.full(len(bands), epoch),
            "effective_balance_band": bands,
            "validators": sums(lambda band: band.validators),
            "effective_balance": sums(lambda band: band.effective_balance * band.validators),
            "reward": np.ma.array(
                sums(lambda band: band.reward * band.validators),
                mask=[not band.complete for band in members],
            ),
            "ideal_reward": sums(lambda band: band.ideal_reward * band.validators),
            "attestation_effectiveness_sum": np.array(
                [band.attestation_effectiveness.sum() for band in members], dtype=np.float64
            ),
            "attestation_effectiveness_duties": np.array(
                [len(band.duty_band) for band in members], dtype=np.int64
            ),
            **quantile_values(members),
        },
    )


def quantile_values(members: Sequence[NetworkScores | None]) -> dict[str, Float64Array]:
    """The quantiles of both scores by column, a value per group of validators; NaN if unknown."""
    unknown = quantiles(np.zeros(0))
    by_score = {
        "reward_effectiveness": [
            unknown
            if group is None
            else quantiles_of_counted(group.reward_effectiveness, group.validators)
            for group in members
        ],
        "attestation_effectiveness": [
            unknown if group is None else quantiles(group.attestation_effectiveness)
            for group in members
        ],
    }
    values: dict[str, Float64Array] = {}
    for score, rows in by_score.items():
        by_quantile = np.array(rows, dtype=np.float64).reshape(len(rows), len(QUANTILES)).T
        values |= dict(zip(quantile_names(score), by_quantile, strict=True))
    return values
