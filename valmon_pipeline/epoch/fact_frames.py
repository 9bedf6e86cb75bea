"""The facts of an epoch: every frame that is made from answers of a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.chain.attestations import AttestationOutcomes
from valmon_pipeline.chain.network_epoch import NetworkEpoch
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.sync_committee import SyncParticipation, sync_participation
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.accounting import (
    balance_ledger_frame,
    block_events_frame,
    ledger_of,
    validator_penalties_frame,
)
from valmon_pipeline.epoch.chain import blocks_frame, fact_sources_frame, network_epochs_frame
from valmon_pipeline.epoch.checks import FACT_CHECKS, CheckResult, check_results_frame
from valmon_pipeline.epoch.duties import (
    attestation_duties_frame,
    proposer_duties_frame,
    sync_duties_frame,
)
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.frame_registry import FrameRegistry
from valmon_pipeline.epoch.movements import Movements, epoch_movements
from valmon_pipeline.epoch.network_epoch import counted_rewards, network_epoch_of
from valmon_pipeline.epoch.network_scores import NetworkScores, network_scores
from valmon_pipeline.epoch.network_totals import NetworkTotals, network_totals
from valmon_pipeline.epoch.performance import attestation_outcomes_frame
from valmon_pipeline.epoch.rewards import (
    attestation_rewards_frame,
    block_rewards_frame,
    sync_rewards_frame,
)
from valmon_pipeline.epoch.score_frames import ScoredNetwork
from valmon_pipeline.epoch.sync_seats import seat_reward
from valmon_pipeline.epoch.validators import validator_snapshots_frame
from valmon_pipeline.ledger.balance_ledger import BalanceLedger
from valmon_pipeline.scoring.ranking import effective_balance_band


@dataclass(frozen=True, slots=True)
class FactFrames:
    """The fact frames of one epoch by table, and the results of the checks on them.

    ``network`` is every validator of the network, to be stored with them; None: it is not.
    ``scored`` is what scores take beside the rows.
    """

    epoch: int
    tables: Mapping[str, pd.DataFrame]
    checks: Sequence[CheckResult]
    network: NetworkEpoch | None
    scored: ScoredNetwork


@dataclass(frozen=True, slots=True)
class _Epoch:
    """An epoch's answers, and what several of its frames are made from."""

    spec: ChainSpec
    answers: EpochAnswers
    watch: Watch
    at: datetime
    outcomes: AttestationOutcomes | None
    participation: SyncParticipation | None
    totals: NetworkTotals
    seat_reward: int | None
    everybody: NetworkScores | None
    movements: Movements
    ledger: BalanceLedger

    @classmethod
    def of(cls, spec: ChainSpec, answers: EpochAnswers, watch: Watch, at: datetime) -> _Epoch:
        blocks = [answers.blocks[slot] for slot in answers.canonical.slot.tolist()]
        end = spec.first_slot(answers.epoch + 1)
        outcomes = answers.outcomes
        totals = network_totals(spec, answers, outcomes)
        movements = epoch_movements(spec, answers)
        return cls(
            spec,
            answers,
            watch,
            at,
            outcomes,
            None
            if answers.sync_committee is None
            else sync_participation(
                spec, answers.sync_committee, [block for block in blocks if 0 < block.slot < end]
            ),
            totals,
            seat_reward(spec, answers, totals),
            network_scores(spec, answers, outcomes, totals),
            movements,
            ledger_of(movements),
        )


def _attestation_outcomes(one: _Epoch, *, attestation_rewards: pd.DataFrame) -> pd.DataFrame:
    return attestation_outcomes_frame(one.spec, one.answers, one.outcomes, attestation_rewards)


def _validator_penalties(
    one: _Epoch, *, attestation_duties: pd.DataFrame, attestation_rewards: pd.DataFrame
) -> pd.DataFrame:
    return validator_penalties_frame(
        one.spec,
        one.answers,
        attestation_rewards,
        attestation_duties,
        one.movements,
        one.ledger,
        one.seat_reward,
    )


def _block_events(one: _Epoch) -> pd.DataFrame:
    everybody = one.watch.network or one.watch.all_events
    return block_events_frame(one.answers, one.movements, everybody=everybody)


FACTS: Final = FrameRegistry[_Epoch](
    {
        "blocks": lambda one: blocks_frame(one.spec, one.answers),
        "validator_snapshots": lambda one: validator_snapshots_frame(one.spec, one.answers),
        "attestation_duties": lambda one: attestation_duties_frame(one.answers),
        "proposer_duties": lambda one: proposer_duties_frame(one.spec, one.answers),
        "sync_duties": lambda one: sync_duties_frame(one.answers, one.participation),
        "attestation_rewards": lambda one: attestation_rewards_frame(
            one.spec, one.answers, one.outcomes, one.totals
        ),
        "attestation_outcomes": _attestation_outcomes,
        "block_rewards": lambda one: block_rewards_frame(one.spec, one.answers),
        "sync_rewards": lambda one: sync_rewards_frame(
            one.spec, one.answers, one.participation, one.seat_reward
        ),
        "block_events": _block_events,
        "balance_ledger": lambda one: balance_ledger_frame(one.answers, one.movements, one.ledger),
        "validator_penalties": _validator_penalties,
        "network_epochs": lambda one: network_epochs_frame(
            one.spec, one.answers, one.totals, one.everybody, one.at
        ),
        "fact_sources": lambda one: fact_sources_frame(one.answers),
    }
)
"""The fact tables. Each is an asset."""


def compute_fact_frames(
    spec: ChainSpec, answers: EpochAnswers, *, watch: Watch, at: datetime
) -> FactFrames:
    """Make every fact frame of an epoch; pure, apart from the time ``at`` it is given.

    A fact that is missing leaves its columns NULL, or its tables without rows.
    """
    one = _Epoch.of(spec, answers, watch, at)
    frames = FACTS.frames(one, {})
    checks = [check.run(answers.epoch, spec, answers, frames) for check in FACT_CHECKS]
    frames["check_results"] = check_results_frame(checks, at)
    bands: Int64Array = effective_balance_band(
        spec.min_activation_balance,
        frames["attestation_rewards"]["effective_balance"].to_numpy(np.int64),
    )
    scored = ScoredNetwork(answers.watched, bands, one.everybody)
    return FactFrames(answers.epoch, frames, checks, _everybody(watch, answers), scored)


def _everybody(watch: Watch, answers: EpochAnswers) -> NetworkEpoch | None:
    rewards = answers.network_rewards
    if not watch.network_rows or rewards is None:
        return None
    return network_epoch_of(rewards, counted_rewards(rewards), answers.committees)
