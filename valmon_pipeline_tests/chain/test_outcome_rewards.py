"""Attestation rewards from blocks alone: as the specification paid, and as balances moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from valmon_pipeline.chain.attestations import AttestationOutcomes, attestation_outcomes
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.inactivity import inactivity_penalties
from valmon_pipeline.chain.outcome_rewards import (
    OutcomeRewards,
    attestation_rewards_of_outcomes,
)
from valmon_pipeline.chain.rewards import is_inactivity_leak, total_active_balance
from valmon_pipeline.chain.slashings import slashed_at_end_of_epoch
from valmon_pipeline.chain.sync_committee import sync_rewards
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline_tests.chain.epoch_facts import epoch_facts
from valmon_pipeline_tests.chain.presets import MAINNET
from valmon_pipeline_tests.chain.registries import ETH
from valmon_pipeline_tests.chain.test_proposer_rewards import rewards_of_recording
from valmon_pipeline_tests.recording import (
    FIRST_EPOCH,
    LAST_EPOCH,
    Recording,
    devnet,
    kept_state,
    mainnet_devnet,
    ssz_devnet,
)
from valmon_pipeline_tests.specification_epochs import (
    SPECIFICATION_EPOCHS,
    SpecificationEpoch,
    scores_of,
    specification_epoch,
)

COMPONENTS = ("source", "target", "head", "inactivity")


def of_known(known: SpecificationEpoch, *, with_scores: bool) -> OutcomeRewards:
    """The rewards of E - 1: the file's window is E - 1 and E."""
    spec, epoch = known.spec, known.epoch - 1
    registry, blocks = known.registry(), known.blocks()
    outcomes = attestation_outcomes(
        spec, epoch, known.committees()[epoch], known.chain(spec.last_slot(epoch + 1)), blocks
    )
    return attestation_rewards_of_outcomes(
        spec,
        epoch,
        outcomes,
        registry,
        slashed_at_end_of_epoch(spec, epoch + 1, registry, blocks),
        total_active_balance(spec, registry, epoch + 1),
        inactivity_leak=known.truth["inactivity_leak"],
        inactivity_scores=scores_of(known) if with_scores else None,
    )


def of_recording(chain: Recording, epoch: int) -> OutcomeRewards:
    spec = chain.spec
    registry = chain.registry(epoch + 1)
    blocks = chain.blocks(spec.first_slot(epoch) + 1, spec.last_slot(epoch + 1))
    finalized = chain.finalized_epoch(spec.first_slot(epoch + 2))
    return attestation_rewards_of_outcomes(
        spec,
        epoch,
        attestation_outcomes(spec, epoch, chain.committees(epoch), chain.window(epoch), blocks),
        registry,
        slashed_at_end_of_epoch(spec, epoch + 1, registry, blocks),
        total_active_balance(spec, registry, epoch + 1),
        inactivity_leak=is_inactivity_leak(spec, epoch, finalized),
    )


def rows_of(rewards: OutcomeRewards) -> list[list[int]]:
    columns = [rewards.validator_index, *(getattr(rewards, name) for name in COMPONENTS)]
    rows: list[list[int]] = np.stack(columns, axis=1).tolist()
    return rows


@pytest.mark.parametrize("name", SPECIFICATION_EPOCHS)
def test_with_scores_every_component_is_what_the_specification_paid(name: str) -> None:
    known = specification_epoch(name)
    ours = of_known(known, with_scores=True)
    assert ours.inactivity_known.all()
    assert rows_of(ours) == known.truth["attestation_rewards"]


@pytest.mark.parametrize("name", SPECIFICATION_EPOCHS)
def test_without_scores_exactly_the_penalties_that_need_them_are_unknown(name: str) -> None:
    known = specification_epoch(name)
    ours, truth = of_known(known, with_scores=False), np.array(known.truth["attestation_rewards"])
    assert ours.inactivity_known.any()
    assert not ours.inactivity_known.all()
    assert np.array(rows_of(ours))[:, :4].tolist() == truth[:, :4].tolist()
    assert not truth[ours.inactivity_known, 4].any()
    assert not ours.inactivity.any()
    rows = known.registry().rows_of(ours.validator_index[~ours.inactivity_known])
    assert (known.registry().effective_balance[rows] > 0).all()


def test_the_specification_epochs_fine_for_inactivity_in_and_out_of_a_leak() -> None:
    fined: Counter[bool] = Counter()
    for name in SPECIFICATION_EPOCHS:
        truth = specification_epoch(name).truth
        fined[truth["inactivity_leak"]] += sum(row[4] < 0 for row in truth["attestation_rewards"])
    assert fined[True] > 50
    assert fined[False] > 5


@pytest.mark.parametrize(
    ("chain", "epochs"),
    [(devnet, range(FIRST_EPOCH, LAST_EPOCH + 1)), (ssz_devnet, range(1, 13))],
    ids=["devnet", "ssz"],
)
def test_every_component_is_what_a_node_that_floors_reports(
    chain: Callable[[], Recording], epochs: range
) -> None:
    recording = chain()
    unknown = 0
    for epoch in epochs:
        ours = of_recording(recording, epoch)
        node = recording.attestation_rewards(epoch).total
        assert ours.validator_index.tolist() == sorted(node)
        for name in COMPONENTS[:3]:
            assert getattr(ours, name).tolist() == [node[index][name] for index in sorted(node)]
        known = ours.inactivity_known.tolist()
        assert not any(
            node[index]["inactivity"]
            for index, sure in zip(sorted(node), known, strict=True)
            if sure
        )
        unknown += known.count(False)
    assert unknown > 100


@pytest.mark.parametrize("epoch", range(2, 9))
def test_a_node_that_rounds_reports_one_gwei_too_much_at_most(epoch: int) -> None:
    """Lodestar 1.39 rounds to nearest. Which of the two is right is what balances say, below."""
    ours, node = of_recording(mainnet_devnet(), epoch), mainnet_devnet().attestation_rewards(epoch)
    assert ours.validator_index.tolist() == sorted(node.total)
    above = []
    for name in COMPONENTS[:3]:
        reported = np.array([node.total[index][name] for index in sorted(node.total)])
        above.append(reported - getattr(ours, name))
    # In these epochs no fraction is above one half.
    assert set(np.concatenate(above).tolist()) == ({0} if epoch in (2, 3, 6) else {0, 1})


@pytest.mark.parametrize("epoch", range(1, 9))
def test_balances_move_by_what_is_computed_from_blocks(epoch: int) -> None:
    """balance((E+2)·S) - balance((E+1)·S), for everybody, without a rewards endpoint.

    Epoch 1 too, whose attestation rewards this node never gave.
    """
    chain = mainnet_devnet()
    spec = chain.spec
    before, after = chain.registry(epoch + 1), chain.registry(epoch + 2)
    first, last = spec.first_slot(epoch + 1), spec.first_slot(epoch + 2)
    change = after.balance - before.balance
    ours = of_recording(chain, epoch)
    scores = kept_state("mainnet", first).inactivity_scores
    # Scores fall by more than they rise outside a leak: nobody's penalty is more than 0.
    assert not scores.any()
    change[ours.validator_index] -= ours.source + ours.target + ours.head
    for one in (epoch + 1, epoch + 2):
        registry = before if one == epoch + 1 else after
        blocks = [
            block for block in chain.blocks(first + 1, last) if spec.epoch_of(block.slot) == one
        ]
        total = total_active_balance(spec, registry, one)
        of_seats = sync_rewards(spec, chain.sync_committee(one), blocks, total)
        change[of_seats.validator_index] -= of_seats.total
        of_blocks = rewards_of_recording(chain, one)
        counts = (of_blocks.slot > first) & (of_blocks.slot <= last)
        np.subtract.at(change, of_blocks.proposer_index[counts], of_blocks.total[counts])
        for block in blocks:
            for withdrawal in block.operations.withdrawals or ():
                change[withdrawal.validator_index] += withdrawal.amount
    assert change.tolist() == [0] * len(before)


def test_outcomes_of_some_validators_only_are_refused() -> None:
    facts = epoch_facts(5)
    outcomes = facts.outcomes
    some = AttestationOutcomes(
        *(getattr(outcomes, name)[1:] for name in AttestationOutcomes.__slots__)
    )

    def rewards_of(given: AttestationOutcomes) -> OutcomeRewards:
        return attestation_rewards_of_outcomes(
            devnet().spec,
            5,
            given,
            facts.registry,
            facts.registry.slashed,
            facts.total_active_balance,
            inactivity_leak=False,
        )

    assert len(rewards_of(outcomes)) >= len(outcomes)
    missing = int(outcomes.validator_index[0])
    with pytest.raises(
        ChainRuleViolationError, match=rf"127 duties but 128 .*first that differs: {missing}\)"
    ):
        rewards_of(some)
    registry = replace(facts.registry, activation_epoch=facts.registry.activation_epoch.copy())
    registry.activation_epoch[missing] = 9
    with pytest.raises(ChainRuleViolationError, match=rf"first that differs: {missing}\)"):
        attestation_rewards_of_outcomes(
            devnet().spec,
            5,
            outcomes,
            registry,
            registry.slashed,
            facts.total_active_balance,
            inactivity_leak=False,
        )


def test_the_fork_of_the_rewarding_epoch_decides_the_inactivity_penalty() -> None:
    known = specification_epoch("electra_first")
    quotients = dict(known.spec.inactivity_penalty_quotient)
    assert known.spec.fork_at_epoch(known.epoch - 1) is Fork.DENEB
    otherwise = replace(known.spec, inactivity_penalty_quotient={**quotients, Fork.DENEB: 1})
    ours = of_known(replace(known, spec=otherwise), with_scores=True)
    assert rows_of(ours) == known.truth["attestation_rewards"]


def test_a_score_that_no_validator_has_is_refused() -> None:
    balance = np.array([2048 * ETH])
    # Beyond int64 in between, but not in the end.
    assert inactivity_penalties(MAINNET, 400_000, balance, np.array([10**8])).tolist() == [
        2048 * ETH * 10**8 // (4 * 2**24)
    ]
    with pytest.raises(ChainRuleViolationError, match="score of 9000000000000000000 is one"):
        inactivity_penalties(MAINNET, 400_000, balance, np.array([9 * 10**18]))
