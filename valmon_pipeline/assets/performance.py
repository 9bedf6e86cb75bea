"""Group ``performance``: what became of each attestation duty."""

from __future__ import annotations

import numpy as np
import pandas as pd

from valmon_pipeline.assets.duties import watched_duty_rows
from valmon_pipeline.assets.epoch_reader import EpochAnswers
from valmon_pipeline.chain.attestations import AttestationOutcomes
from valmon_pipeline.frames.conform import conform


def attestation_outcomes_frame(
    answers: EpochAnswers, outcomes: AttestationOutcomes
) -> pd.DataFrame:
    """Frame ``attestation_outcomes``: the watched rows of the outcomes of all duties."""
    rows = watched_duty_rows(answers)
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
        },
    )
