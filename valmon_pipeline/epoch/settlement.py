"""Decides between a node's numbers and the specification before anything is computed of them.

Where the whole registry is known, blocks and committees determine every attestation and sync
reward: those are stored, and what the node reports is held against them. Clients round to nearest
where the chain floors, or price a leak wrongly: that is one finding about the node, not a fact
about validators. Where only some validators are known, the node's rewards are the only ones; they
must not contradict the flags that the blocks prove, and the balances settle what was credited at
the end of the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from valmon_pipeline.beacon.answers import AttestationRewards, SyncCommitteeRewards
from valmon_pipeline.chain.attestations import AttestationOutcomes
from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.outcome_rewards import OutcomeRewards, attestation_rewards_of_outcomes
from valmon_pipeline.chain.registry import BoolArray, Int64Array, ValidatorRegistry
from valmon_pipeline.chain.rewards import is_inactivity_leak, total_active_balance
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.sync_committee import sync_participant_reward, sync_participation
from valmon_pipeline.epoch.accounting import ledger_of
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.facts import Fact, FactSource
from valmon_pipeline.epoch.movements import Movements, epoch_movements
from valmon_pipeline.epoch.network_totals import slashed_when_rewarded
from valmon_pipeline.epoch.source_names import SourceName
from valmon_pipeline.ledger.residuals import ResidualClass

_COMPONENTS: Final = ("source", "target", "head", "inactivity")
_FEWEST_TO_JUDGE: Final = 3
_MOST_BY_ROUNDING: Final = len(_COMPONENTS)
"""Gwei by which a total of rounded components can differ from one of floored ones."""


def settled(spec: ChainSpec, answers: EpochAnswers) -> EpochAnswers:
    """The answers with the rewards that are to be stored, and in ``sources`` what deviates."""
    answers = _settle_attestation_rewards(spec, answers)
    answers = _settle_sync_rewards(spec, answers)
    return settle_rounding(spec, answers)


def settle_rounding(spec: ChainSpec, answers: EpochAnswers) -> EpochAnswers:
    """Correct what was credited at the end of the epoch by what the balances prove.

    The rewards of the epoch before are a node's. Where every other movement is known and a balance
    is off by what rounding of the components can make, the balance is right.
    """
    previous, source = (
        answers.previous_attestation_rewards,
        _source(answers, Fact.PREVIOUS_ATTESTATION_REWARDS),
    )
    if (
        previous is None
        or source is None
        or answers.registry_at_start is None
        or answers.registry_at_end is None
    ):
        return answers
    movements = epoch_movements(spec, answers)
    reported = (source.source or "").endswith(SourceName.ATTESTATION_REWARDS.value)
    reason = _contradicted_by_balances(answers, movements, previous) if reported else None
    if reason is not None:
        source = FactSource(source.fact, None, None, reason)
        return replace(
            answers,
            previous_attestation_rewards=None,
            sources=_with(answers.sources, source),
        )
    residual, unproved = movements.residual, movements.unknown.any
    rounded = (residual != 0) & (np.abs(residual) <= _MOST_BY_ROUNDING) & ~unproved
    at = np.searchsorted(previous.validator_index, movements.validator_index)
    known = np.append(previous.validator_index, -1)[at] == movements.validator_index
    rows = np.flatnonzero(rounded & known)
    if not len(rows):
        return answers
    # Which component was rounded up cannot be told; only their sum is used.
    corrected = previous.target.copy()
    corrected[at[rows]] += residual[rows]
    # What no balance proves of a node that rounds is not known.
    doubtful = np.zeros(len(previous), dtype=np.bool_)
    doubtful[at[unproved & known]] = True
    settled_previous = _rows_of(replace(previous, target=corrected), ~doubtful)
    return replace(
        answers,
        previous_attestation_rewards=settled_previous,
        sources=_with(
            answers.sources,
            replace(
                source,
                compared=int(np.count_nonzero(known)),
                deviating=(source.deviating or 0) + len(rows),
                largest_deviation=max(
                    source.largest_deviation or 0, int(np.abs(residual[rows]).max())
                ),
            ),
        ),
    )


def _contradicted_by_balances(
    answers: EpochAnswers, movements: Movements, previous: AttestationRewards
) -> str | None:
    """Return a reason if a node's rewards contradict most balances; None otherwise.

    Nothing else moves most balances, so the rewards are in doubt. Of fewer than three validators
    that cannot be told: what is left over is then shown as unexplained, and so is what the
    specification's own rewards leave over, since that is a mistake here.
    """
    residual, unproved = movements.residual, movements.unknown.any
    judged = np.isin(movements.validator_index, previous.validator_index) & ~unproved
    unexplained = ledger_of(movements).residual_class == ResidualClass.UNEXPLAINED.code
    wrong = judged & unexplained & (np.abs(residual) > _MOST_BY_ROUNDING)
    of, count = int(judged.sum()), int(wrong.sum())
    if of < _FEWEST_TO_JUDGE or 2 * count <= of:
        return None
    first = int(np.argmax(wrong))
    return (
        f"{answers.node} reports attestation rewards of epoch {answers.epoch - 1} that contradict "
        f"{count} of {of} balances (first of validator {int(movements.validator_index[first])}, "
        f"by {int(residual[first])} gwei): they are of another chain, or of a rule that "
        "valmon does not know"
    )


def _rows_of(rewards: AttestationRewards, rows: BoolArray) -> AttestationRewards:
    """The rewards of some validators (n); the ideal rows stay."""
    known = rewards.inactivity_known
    return replace(
        rewards,
        validator_index=rewards.validator_index[rows],
        source=rewards.source[rows],
        target=rewards.target[rows],
        head=rewards.head[rows],
        inactivity=rewards.inactivity[rows],
        inactivity_known=None if known is None else known[rows],
    )


def _settle_attestation_rewards(spec: ChainSpec, answers: EpochAnswers) -> EpochAnswers:
    registry, outcomes = answers.registry_at_end, answers.outcomes
    finality = answers.finalized_epoch_at_transition
    if outcomes is None or registry is None:
        return answers
    if not answers.whole_registry:
        return _without_contradicted_rewards(spec, answers, outcomes, registry)
    if finality is None or (outcomes.validator_index < 0).any():
        return answers
    computed = attestation_rewards_of_outcomes(
        spec,
        answers.epoch,
        outcomes,
        registry,
        slashed_when_rewarded(spec, answers, registry),
        total_active_balance(spec, registry, answers.epoch + 1),
        inactivity_leak=is_inactivity_leak(spec, answers.epoch, finality),
    )
    reported = answers.attestation_rewards
    rewards = _rewards_to_store(computed, reported)
    source = _source(answers, Fact.ATTESTATION_REWARDS) or FactSource(
        Fact.ATTESTATION_REWARDS, None
    )
    source = replace(source, source=SourceName.OUTCOMES.value)
    if reported is not None:
        source = _held_against(source, rewards, reported)
    if rewards.inactivity_known is not None:
        doubtful = rewards.validator_index[~rewards.inactivity_known]
        unknown = len(np.intersect1d(doubtful, answers.watched))
        if unknown:
            reason = f"the inactivity penalties of {unknown} validators take a node or a state"
            reasons = "; ".join(filter(None, [reason, source.reason]))
            source = replace(source, source=None, node=None, reason=reasons)
    return replace(
        answers,
        attestation_rewards=rewards,
        reported_attestation_rewards=reported,
        sources=_with(answers.sources, source),
    )


def _rewards_to_store(
    computed: OutcomeRewards, reported: AttestationRewards | None
) -> AttestationRewards:
    """The computed rewards; inactivity penalties that take a score are the node's, if it has
    them."""
    inactivity, known = computed.inactivity.copy(), computed.inactivity_known.copy()
    if reported is not None:
        at = np.searchsorted(reported.validator_index, computed.validator_index)
        listed = np.append(reported.validator_index, -1)[at] == computed.validator_index
        missing = ~known & listed
        inactivity[missing] = reported.inactivity[at[missing]]
        known |= listed
    nothing = np.empty(0, dtype=np.int64)
    return AttestationRewards(
        computed.validator_index,
        computed.source,
        computed.target,
        computed.head,
        inactivity,
        nothing if reported is None else reported.ideal_effective_balance,
        nothing if reported is None else reported.ideal_source,
        nothing if reported is None else reported.ideal_target,
        nothing if reported is None else reported.ideal_head,
        None if known.all() else known,
    )


def _held_against(
    source: FactSource, stored: AttestationRewards, reported: AttestationRewards
) -> FactSource:
    """The source with what the node reports differently."""
    common, of_stored, of_reported = np.intersect1d(
        stored.validator_index, reported.validator_index, return_indices=True
    )
    differences = np.concatenate(
        [
            np.abs(getattr(stored, name)[of_stored] - getattr(reported, name)[of_reported])
            for name in _COMPONENTS
        ]
    )
    largest = int(differences.max(initial=0))
    return replace(
        source,
        compared=len(common) * len(_COMPONENTS),
        deviating=int(np.count_nonzero(differences)),
        largest_deviation=largest,
    )


def _without_contradicted_rewards(
    spec: ChainSpec,
    answers: EpochAnswers,
    outcomes: AttestationOutcomes,
    registry: ValidatorRegistry,
) -> EpochAnswers:
    """Drop rewards that contradict the flags that the blocks prove: they are of another chain."""
    reported, finality = answers.attestation_rewards, answers.finalized_epoch_at_transition
    if reported is None or finality is None or is_inactivity_leak(spec, answers.epoch, finality):
        return answers
    slashed = registry.validator_index[
        slashed_when_rewarded(spec, answers, registry) | (registry.effective_balance == 0)
    ]
    judged = np.setdiff1d(np.intersect1d(answers.watched, reported.validator_index), slashed)
    rows, timely = _duty_rows(outcomes, judged)
    at = np.searchsorted(reported.validator_index, judged[rows])
    for name in ("source", "target"):
        reward = getattr(reported, name)[at]
        wrong = ((reward > 0) & ~getattr(outcomes, f"{name}_timely")[timely]) | (
            (reward < 0) & getattr(outcomes, f"{name}_timely")[timely]
        )
        if wrong.any():
            one = int(judged[rows][int(np.argmax(wrong))])
            source = FactSource(
                Fact.ATTESTATION_REWARDS,
                None,
                None,
                f"{answers.node} reports {name} rewards that contradict the votes in the blocks "
                f"({int(wrong.sum())}, first of validator {one}): they are of another chain",
            )
            return replace(
                answers, attestation_rewards=None, sources=_with(answers.sources, source)
            )
    return answers


def _duty_rows(
    outcomes: AttestationOutcomes, validators: Int64Array
) -> tuple[Int64Array, Int64Array]:
    """Which of ``validators`` (ascending) have a duty, and its row."""
    order = np.argsort(outcomes.validator_index, kind="stable")
    members = outcomes.validator_index[order]
    at = np.searchsorted(members, validators)
    found = np.flatnonzero(np.append(members, -1)[at] == validators)
    return found.astype(np.int64), order[at[found]].astype(np.int64)


def _settle_sync_rewards(spec: ChainSpec, answers: EpochAnswers) -> EpochAnswers:
    """Everybody's sync rewards by block, from seats, bits and what a seat earns."""
    end = spec.first_slot(answers.epoch + 1)
    price, at_end = answers.seat_reward, answers.seat_reward_at_end
    sources = answers.sources
    if answers.whole_registry:
        start, registry = answers.registry_at_start, answers.registry_at_end
        if start is not None:
            total = total_active_balance(spec, start, answers.epoch)
            price = sync_participant_reward(spec, total)
        if registry is not None:
            total = total_active_balance(spec, registry, answers.epoch + 1)
            at_end = sync_participant_reward(spec, total)
    blocks = [block for block in answers.blocks.values() if 0 < block.slot <= end]
    rewards: dict[int, SyncCommitteeRewards] = {}
    for block in blocks:
        seats = answers.sync_committee_at_end if block.slot == end else answers.sync_committee
        of_seat = at_end if block.slot == end else price
        if seats is not None and of_seat is not None:
            rewards[block.slot] = _sync_rewards(spec, seats, block, of_seat)
    if answers.whole_registry or rewards:
        unknown = sorted({block.slot for block in blocks} - rewards.keys())
        known = _source(answers, Fact.SYNC_REWARDS)
        if unknown:
            reason = (known.reason if known else None) or "the seats or their price are not known"
            found = FactSource(
                Fact.SYNC_REWARDS, None, None, f"unknown for slots {unknown[:5]}: {reason}"
            )
        elif answers.whole_registry or known is None:
            found = FactSource(Fact.SYNC_REWARDS, SourceName.SEATS.value, answers.node)
        else:
            found = known
        sources = _with(sources, found)
    return replace(
        answers,
        sync_rewards=rewards,
        seat_reward=price,
        seat_reward_at_end=at_end,
        sources=sources,
    )


def _sync_rewards(
    spec: ChainSpec, seats: Int64Array, block: Block, price: int
) -> SyncCommitteeRewards:
    members = sync_participation(spec, seats, [block])
    return SyncCommitteeRewards(
        members.validator_index, (members.participated - members.missed) * price
    )


def _source(answers: EpochAnswers, fact: Fact) -> FactSource | None:
    return next((source for source in answers.sources if source.fact is fact), None)


def _with(sources: tuple[FactSource, ...], changed: FactSource) -> tuple[FactSource, ...]:
    by_fact: Mapping[Fact, FactSource] = {source.fact: source for source in sources}
    return tuple({**by_fact, changed.fact: changed}.values())
