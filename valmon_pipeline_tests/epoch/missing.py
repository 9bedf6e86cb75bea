"""Takes facts away from an epoch, and compares its frames with those of everything known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.registry import ValidatorRegistry
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.epoch_frames import EpochFrames
from valmon_pipeline.epoch.facts import Fact, FactSource
from valmon_pipeline.errors import ContractViolationError
from valmon_pipeline.frames import TABLES, validate

BUSY_EPOCHS: Final = (1, 3, 5, 7, 8, 13, 20, 25, 39, 41)
"""Epochs in which much happens on one chain or the other: the first rewards, the upgrade to
Electra, deposits, slashings, withdrawals, switches, a consolidation, a leak, correlation
penalties."""

Taking = Callable[[EpochAnswers], EpochAnswers]


def _without_some_block_rewards(answers: EpochAnswers) -> EpochAnswers:
    kept = {slot: reward for slot, reward in answers.block_rewards.items() if slot % 3}
    return replace(answers, block_rewards=kept)


def _without_some_sync_rewards(answers: EpochAnswers) -> EpochAnswers:
    kept = {slot: rewards for slot, rewards in answers.sync_rewards.items() if slot % 5}
    return replace(answers, sync_rewards=kept, seat_reward=None, seat_reward_at_end=None)


def _without_sync_rewards(answers: EpochAnswers) -> EpochAnswers:
    return replace(answers, sync_rewards={}, seat_reward=None, seat_reward_at_end=None)


def _blinded(answers: EpochAnswers, slots: Collection[int]) -> EpochAnswers:
    blocks = {
        slot: replace(block, operations=replace(block.operations, withdrawals=None))
        if slot in slots
        else block
        for slot, block in answers.blocks.items()
    }
    return replace(answers, blocks=blocks)


def _unnamed(answers: EpochAnswers) -> EpochAnswers:
    """Committees of which only the watched are named."""
    committees = answers.committees
    if committees is None:
        return answers
    members = committees.validator_index
    named = np.isin(members, answers.watched)
    if named.all():
        return answers
    unnamed = Committees(
        committees.slot,
        committees.committee_index,
        committees.offset,
        committees.length,
        np.where(named, members, -1 - np.arange(len(members))),
    )
    outcomes = answers.outcomes
    assert outcomes is not None
    return replace(
        answers,
        committees=unnamed,
        outcomes=replace(outcomes, validator_index=unnamed.validator_index),
    )


TAKEN: Final[Mapping[str, tuple[Fact, Taking]]] = {
    "registry_at_start": (
        Fact.REGISTRY_AT_START,
        lambda answers: replace(answers, registry_at_start=None),
    ),
    "registry_at_end": (
        Fact.REGISTRY_AT_END,
        lambda answers: replace(answers, registry_at_end=None),
    ),
    "committees": (
        Fact.COMMITTEES,
        lambda answers: replace(answers, committees=None, outcomes=None),
    ),
    "members": (Fact.COMMITTEES, _unnamed),
    "sync_committee": (
        Fact.SYNC_COMMITTEE,
        lambda answers: replace(answers, sync_committee=None, sync_committee_at_end=None),
    ),
    "proposers": (Fact.PROPOSERS, lambda answers: replace(answers, proposer_duties=None)),
    "finality": (
        Fact.FINALITY,
        lambda answers: replace(answers, finalized_epoch_at_transition=None),
    ),
    "attestation_rewards": (
        Fact.ATTESTATION_REWARDS,
        lambda answers: replace(answers, attestation_rewards=None),
    ),
    "previous_attestation_rewards": (
        Fact.PREVIOUS_ATTESTATION_REWARDS,
        lambda answers: replace(answers, previous_attestation_rewards=None),
    ),
    "block_rewards": (Fact.BLOCK_REWARDS, lambda answers: replace(answers, block_rewards={})),
    "some block_rewards": (Fact.BLOCK_REWARDS, _without_some_block_rewards),
    "sync_rewards": (Fact.SYNC_REWARDS, _without_sync_rewards),
    "some sync_rewards": (Fact.SYNC_REWARDS, _without_some_sync_rewards),
    "withdrawals": (Fact.WITHDRAWALS, lambda answers: _blinded(answers, answers.blocks)),
    "some withdrawals": (
        Fact.WITHDRAWALS,
        lambda answers: _blinded(answers, sorted(answers.blocks)[::3]),
    ),
    "queues": (Fact.PENDING_QUEUES, lambda answers: replace(answers, queues=None)),
    "slashed_balance": (Fact.SLASHED_BALANCE, lambda answers: replace(answers, slashing_sums=None)),
}
"""What can be taken away, by name: the fact it is about, and how."""

AFTER_AN_OUTAGE: Final = (
    *("registry_at_start", "registry_at_end", "finality", "attestation_rewards"),
    *("previous_attestation_rewards", "block_rewards", "sync_rewards", "queues"),
)
"""What a default node no longer has of last week's epochs."""


def without(
    answers: EpochAnswers, taken: Collection[str], later: ValidatorRegistry | None
) -> EpochAnswers:
    """``answers`` without what is ``taken``, with the reasons, and a ``later`` registry, if any."""
    for name in taken:
        answers = TAKEN[name][1](answers)
    lacking = {TAKEN[name][0] for name in taken}
    sources = tuple(
        FactSource(fact, None, reason="taken away")
        if fact in lacking
        else FactSource(fact, "recording", node=answers.node)
        for fact in Fact
    )
    return replace(answers, life_cycles=later, sources=sources)


SUMS: Final = frozenset({"epoch_summaries"})
"""Sums say over how many they were taken: they are compared by those counts."""

ABOUT_THE_EPOCH: Final = frozenset({"check_results", "fact_sources"})
ALSO_ABOUT_IT: Final = frozenset({("network_epochs", "missing_facts")})

WITHOUT_QUEUES: Final = frozenset({"deposits", "consolidations", "residual", "residual_class"})
"""Columns of the ledger that say something else without the queues: the residual has its amount."""


def contradictions(
    full: EpochFrames, partial: EpochFrames, *, queues_taken: bool = False
) -> Iterator[str]:
    """What the partial frames say that the full ones do not: rows and values; NULL says nothing."""
    assert full.tables.keys() == partial.tables.keys()
    for table in full.tables.keys() - SUMS - ABOUT_THE_EPOCH:
        key = list(TABLES[table].key)
        expected = full.tables[table].set_index(key)
        found = partial.tables[table].set_index(key)
        strangers = found.index.difference(expected.index)
        if len(strangers):
            yield f"{table}: rows {strangers.tolist()[:3]} are not among those of everything known"
            continue
        expected = expected.reindex(found.index)
        for column in found.columns:
            skipped = queues_taken and table == "balance_ledger" and column in WITHOUT_QUEUES
            if skipped or (table, column) in ALSO_ABOUT_IT:
                continue
            said = found[column].notna().to_numpy(np.bool_)
            if column == "residual_class":
                # Where there is no residual, the class says what is missing.
                said = said & found["residual"].notna().to_numpy(np.bool_)
            ours = found[column].astype(object).to_numpy()[said]
            theirs = expected[column].astype(object).to_numpy()[said]
            wrong = [
                (index, a, b)
                for index, a, b in zip(found.index[said], ours, theirs, strict=True)
                if pd.isna(b) or a != b
            ]
            if wrong:
                yield f"{table}.{column}: {wrong[:3]} of {len(wrong)}"


def broken_contracts(frames: EpochFrames) -> Iterator[str]:
    """What the contracts say against the frames."""
    for table, frame in frames.tables.items():
        try:
            validate(table, frame)
        except ContractViolationError as error:
            yield str(error)
