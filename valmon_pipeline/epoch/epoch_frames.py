"""Facts and scores of an epoch in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from valmon_pipeline.chain.network_epoch import NetworkEpoch
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.checks import CheckResult, check_results_frame
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.fact_frames import compute_fact_frames
from valmon_pipeline.epoch.score_frames import compute_score_frames
from valmon_pipeline.scoring.effectiveness import FORMULA_VERSION


@dataclass(frozen=True, slots=True)
class EpochFrames:
    """The frames of one epoch by table name, and its check results.

    ``network`` is every validator of the network, to be stored with them; None: it is not.
    """

    epoch: int
    tables: Mapping[str, pd.DataFrame]
    checks: Sequence[CheckResult]
    network: NetworkEpoch | None


def compute_epoch_frames(
    spec: ChainSpec,
    answers: EpochAnswers,
    *,
    watch: Watch,
    labels: pd.DataFrame,
    at: datetime,
) -> EpochFrames:
    """Make every frame of an epoch from what is known of it; pure, apart from the time ``at``.

    ``labels`` is the frame ``validator_labels``, by which the epoch is summed up.
    """
    facts = compute_fact_frames(spec, answers, watch=watch, at=at)
    scores = compute_score_frames(answers.epoch, facts.tables, labels, facts.scored)
    checks = [*facts.checks, *scores.checks]
    scored = facts.tables["network_epochs"].assign(
        formula_version=pd.array([FORMULA_VERSION], dtype="Int32")
    )
    tables = {
        **facts.tables,
        "network_epochs": scored,
        **scores.tables,
        "check_results": check_results_frame(checks, at),
    }
    return EpochFrames(answers.epoch, tables, checks, facts.network)
