"""Group ``performance``: what became of each attestation duty."""

from __future__ import annotations

import numpy as np
import pandas as pd

from valmon_pipeline.chain.attestations import AttestationOutcomes
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.epoch.duties import watched_duty_rows
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.network_totals import slashed_when_rewarded
from valmon_pipeline.frames.conform import conform
from valmon_pipeline.scoring.miss_causes import Int8Array, head_missed_by_most, miss_causes


def attestation_outcomes_frame(
    spec: ChainSpec,
    answers: EpochAnswers,
    outcomes: AttestationOutcomes,
    attestation_rewards: pd.DataFrame,
) -> pd.DataFrame:
    """Frame ``attestation_outcomes``: the watched rows of the outcomes of all duties.

    ``attestation_rewards`` is the epoch's frame of that name: it prices what was missed.
    """
    rows = watched_duty_rows(answers)
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
            "miss_cause": np.ma.masked_equal(causes, -1),
            "cost": _cost(attestation_rewards, outcomes.validator_index[rows]),
        },
    )


def _causes(
    spec: ChainSpec, answers: EpochAnswers, outcomes: AttestationOutcomes, rows: Int64Array
) -> Int8Array:
    """Why each duty of ``rows`` earned less than it could: codes of ``MissCause``, or -1."""
    registry = answers.registry_at_end
    at = registry.rows_of(outcomes.validator_index[rows])
    by_most = head_missed_by_most(outcomes.slot, outcomes.included, outcomes.head_correct)
    return miss_causes(
        slot=outcomes.slot[rows],
        inclusion_slot=outcomes.inclusion_slot[rows],
        earliest_inclusion_slot=outcomes.earliest_inclusion_slot[rows],
        target_correct=outcomes.target_correct[rows],
        head_correct=outcomes.head_correct[rows],
        source_timely=outcomes.source_timely[rows],
        target_timely=outcomes.target_timely[rows],
        head_timely=outcomes.head_timely[rows],
        slashed=slashed_when_rewarded(spec, answers)[at],
        last_epoch_before_exit=registry.exit_epoch[at] == answers.epoch + 1,
        head_missed_by_most=by_most[rows],
        head_delay=spec.min_attestation_inclusion_delay,
    )


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
