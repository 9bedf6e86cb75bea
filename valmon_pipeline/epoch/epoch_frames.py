"""Every frame of an epoch from the node's answers about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from valmon_pipeline.chain.network_epoch import NetworkEpoch
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.sync_committee import sync_participation
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.accounting import (
    balance_ledger_frame,
    block_events_frame,
    ledger_of,
    validator_penalties_frame,
)
from valmon_pipeline.epoch.chain import blocks_frame, fact_sources_frame, network_epochs_frame
from valmon_pipeline.epoch.checks import EPOCH_CHECKS, CheckResult, check_results_frame
from valmon_pipeline.epoch.duties import (
    attestation_duties_frame,
    proposer_duties_frame,
    sync_duties_frame,
)
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.group_sums import epoch_summaries_frame
from valmon_pipeline.epoch.movements import epoch_movements
from valmon_pipeline.epoch.network_epoch import counted_rewards, network_epoch_of
from valmon_pipeline.epoch.network_scores import network_bands_frame, network_scores
from valmon_pipeline.epoch.network_totals import network_totals
from valmon_pipeline.epoch.performance import attestation_outcomes_frame
from valmon_pipeline.epoch.rewards import (
    attestation_rewards_frame,
    block_rewards_frame,
    sync_rewards_frame,
)
from valmon_pipeline.epoch.scores import effectiveness_scores_frame
from valmon_pipeline.epoch.sync_seats import seat_reward
from valmon_pipeline.epoch.validators import validator_snapshots_frame
from valmon_pipeline.scoring.ranking import effective_balance_band


@dataclass(frozen=True, slots=True)
class EpochFrames:
    """The frames of one epoch by table name, ready to be stored together, and its check results.

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
    """Every frame of an epoch from what is known of it; pure, apart from the time it is given.

    A fact that is missing leaves its columns NULL, or its tables without rows. ``labels`` is the
    frame ``validator_labels``, by which the epoch is summed up.
    """
    blocks = [answers.blocks[slot] for slot in answers.canonical.slot.tolist()]
    end = spec.first_slot(answers.epoch + 1)
    outcomes = answers.outcomes
    participation = (
        None
        if answers.sync_committee is None
        else sync_participation(
            spec, answers.sync_committee, [block for block in blocks if 0 < block.slot < end]
        )
    )
    totals = network_totals(spec, answers, outcomes)
    per_seat = seat_reward(spec, answers, totals)
    everybody = network_scores(spec, answers, outcomes, totals)
    movements = epoch_movements(spec, answers)
    ledger = ledger_of(movements)
    attestation_rewards = attestation_rewards_frame(spec, answers, outcomes, totals)
    frames: dict[str, pd.DataFrame] = {
        "blocks": blocks_frame(spec, answers),
        "validator_snapshots": validator_snapshots_frame(spec, answers),
        "attestation_duties": attestation_duties_frame(answers),
        "proposer_duties": proposer_duties_frame(spec, answers),
        "sync_duties": sync_duties_frame(answers, participation),
        "attestation_outcomes": attestation_outcomes_frame(
            spec, answers, outcomes, attestation_rewards
        ),
        "attestation_rewards": attestation_rewards,
        "block_rewards": block_rewards_frame(spec, answers),
        "sync_rewards": sync_rewards_frame(spec, answers, participation, per_seat),
        "block_events": block_events_frame(
            answers, movements, everybody=watch.network or watch.all_events
        ),
        "balance_ledger": balance_ledger_frame(answers, movements, ledger),
        "network_bands": network_bands_frame(answers.epoch, everybody),
        "network_epochs": network_epochs_frame(spec, answers, totals, everybody, at),
        "fact_sources": fact_sources_frame(answers),
    }
    frames["validator_penalties"] = validator_penalties_frame(
        spec,
        answers,
        attestation_rewards,
        frames["attestation_duties"],
        movements,
        ledger,
        per_seat,
    )
    frames["effectiveness_scores"] = effectiveness_scores_frame(
        answers.epoch,
        network=everybody,
        bands=effective_balance_band(
            spec.min_activation_balance,
            attestation_rewards["effective_balance"].to_numpy(np.int64),
        ),
        attestation_outcomes=frames["attestation_outcomes"],
        attestation_rewards=frames["attestation_rewards"],
        proposer_duties=frames["proposer_duties"],
        sync_duties=frames["sync_duties"],
        watched=answers.watched,
    )
    frames["epoch_summaries"] = epoch_summaries_frame(
        answers.epoch, frames, labels, answers.watched
    )
    checks = [check.run(spec, answers, frames) for check in EPOCH_CHECKS]
    frames["check_results"] = check_results_frame(checks, at)
    return EpochFrames(answers.epoch, frames, checks, _everybody(watch, answers))


def _everybody(watch: Watch, answers: EpochAnswers) -> NetworkEpoch | None:
    rewards = answers.network_rewards
    if not watch.network_rows or rewards is None:
        return None
    return network_epoch_of(rewards, counted_rewards(rewards), answers.committees)
