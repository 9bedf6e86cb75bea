"""Group ``performance``: what became of each attestation duty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from valmon_pipeline.chain.attestations import AttestationOutcomes
from valmon_pipeline.chain.registry import BoolArray, Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.epoch.duties import watched_duty_rows
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.network_totals import slashed_when_rewarded
from valmon_pipeline.frames.conform import conform, empty_frame
from valmon_pipeline.scoring.miss_causes import head_missed_by_most, miss_causes


def attestation_outcomes_frame(
    spec: ChainSpec,
    answers: EpochAnswers,
    outcomes: AttestationOutcomes | None,
    attestation_rewards: pd.DataFrame,
) -> pd.DataFrame:
    """Frame ``attestation_outcomes``: the watched rows of the outcomes of all duties; none where
    the committees are not known.

    ``attestation_rewards`` is the epoch's frame of that name: it prices what was missed.
    """
    if outcomes is None:
        return empty_frame("attestation_outcomes")
    rows = watched_duty_rows(outcomes.validator_index, answers.watched)
    causes = _causes(spec, answers, outcomes, rows)
    return conform(
        "attestation_outcomes",
        {
            "epoch": np.full(len(rows), answers.epoch),
            "validator_index": outcomes.validator_index[rows],
            "slot": outcomes.slot[rows],
            "included": outcomes.included[rows],
            "inclusion_slot": np.ma.masked_equal(outcomes.inclusion_slot[rows], -1),
            "inclusion_delay": np.ma.masked_equal(outcomes.inclusion_delay[rows], -1),
            "earliest_inclusion_slot": np.ma.masked_equal(
                outcomes.earliest_inclusion_slot[rows], -1
            ),
            "target_correct": outcomes.target_correct[rows],
            "head_correct": outcomes.head_correct[rows],
            "source_timely": outcomes.source_timely[rows],
            "target_timely": outcomes.target_timely[rows],
            "head_timely": outcomes.head_timely[rows],
            "miss_cause": causes,
            "cost": _cost(attestation_rewards, outcomes.validator_index[rows]),
        },
    )


def _causes(
    spec: ChainSpec, answers: EpochAnswers, outcomes: AttestationOutcomes, rows: Int64Array
) -> np.ma.MaskedArray[tuple[int], np.dtype[np.int8]]:
    """Why each duty of ``rows`` earned less than it could: codes of ``MissCause``, masked for those
    that earned all, and where it is not known whether the validator was slashed."""
    leaving = _leaving(spec, answers, outcomes.validator_index[rows])
    by_most = head_missed_by_most(outcomes.slot, outcomes.included, outcomes.head_correct)
    causes = miss_causes(
        slot=outcomes.slot[rows],
        inclusion_slot=outcomes.inclusion_slot[rows],
        earliest_inclusion_slot=outcomes.earliest_inclusion_slot[rows],
        target_correct=outcomes.target_correct[rows],
        head_correct=outcomes.head_correct[rows],
        source_timely=outcomes.source_timely[rows],
        target_timely=outcomes.target_timely[rows],
        head_timely=outcomes.head_timely[rows],
        slashed=leaving.slashed,
        last_epoch_before_exit=leaving.in_last_epoch,
        head_missed_by_most=by_most[rows],
        head_delay=spec.min_attestation_inclusion_delay,
    )
    return np.ma.array(causes, mask=(causes == -1) | ~leaving.known)


@dataclass(frozen=True, slots=True)
class _Leaving:
    """Of each validator (n) whether it was slashed when its attestation was rewarded, and whether
    it was in its last epoch before its exit; only where ``known``."""

    slashed: BoolArray
    in_last_epoch: BoolArray
    known: BoolArray


def _leaving(spec: ChainSpec, answers: EpochAnswers, validators: Int64Array) -> _Leaving:
    """By the registry at the end of the epoch, or a later one: an exit epoch that has come was set
    long before, and nobody is unslashed again."""
    at_end, later = answers.registry_at_end, answers.life_cycles
    nobody = np.zeros(len(validators), dtype=np.bool_)
    if at_end is not None:
        registry, slashed = at_end, slashed_when_rewarded(spec, answers, at_end)
        known = np.ones(len(registry), dtype=np.bool_)
    elif later is not None:
        registry, slashed, known = later, np.zeros(len(later), dtype=np.bool_), ~later.slashed
    else:
        return _Leaving(nobody, nobody, nobody)
    held = np.isin(validators, registry.validator_index)
    at = registry.rows_of(validators[held])

    def spread(marks: BoolArray) -> BoolArray:
        spread_out = nobody.copy()
        spread_out[held] = marks[at]
        return spread_out

    in_last_epoch = registry.exit_epoch == answers.epoch + 1
    return _Leaving(spread(slashed), spread(in_last_epoch), spread(known))


def _cost(
    attestation_rewards: pd.DataFrame, validators: Int64Array
) -> np.ma.MaskedArray[tuple[int], np.dtype[np.int64]]:
    """Ideal less earned gwei of each validator (n); masked without a reward or its ideal."""
    missed = attestation_rewards[["missed_source", "missed_target", "missed_head"]]
    lost = missed.sum(axis=1, skipna=False).to_numpy(np.int64, na_value=0)
    unknown = missed.isna().any(axis=1).to_numpy(np.bool_)
    rewarded = attestation_rewards["validator_index"].to_numpy(np.int64)
    at = np.searchsorted(rewarded, validators)
    found = np.append(rewarded, -1)[at] == validators
    return np.ma.array(np.append(lost, 0)[at], mask=~found | np.append(unknown, True)[at])
