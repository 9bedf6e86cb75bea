from __future__ import annotations

import pytest

from valmon_pipeline.chain.blocks import Block, Operations
from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.slashings import (
    correlation_penalty,
    initial_slashing_penalty,
    is_correlation_penalty_due,
    slashed_at_end_of_epoch,
    slashed_balance_candidates,
)
from valmon_pipeline_tests.chain.presets import MAINNET, MINIMAL
from valmon_pipeline_tests.chain.registries import ETH, registry
from valmon_pipeline_tests.recording import FIRST_EPOCH, LAST_EPOCH, devnet


def block(slot: int, *slashed: int) -> Block:
    slashings = Operations(proposer_slashings=slashed)
    return Block(slot, 0, b"", Fork.ELECTRA, (), None, slashings)


def test_slashings_of_the_epoch_after_its_first_slot_are_added() -> None:
    validators = registry(index=[0, 1, 2, 5, 7], slashed=[False, True, False, False, False])
    blocks = [block(40, 2), block(41, 0), block(47, 5, 99), block(48, 7)]
    # Slot 40 is epoch 5's first: its slashings are in the registry already. Slot 48 is epoch 6.
    assert slashed_at_end_of_epoch(MINIMAL, 5, validators, blocks).tolist() == [
        True,
        True,
        False,
        True,
        False,
    ]
    assert not slashed_at_end_of_epoch(MINIMAL, 5, registry(index=[0]), []).any()


def test_only_the_slashable_are_slashed() -> None:
    validators = registry(
        index=range(4), activation=[6, 0, 0, 5], withdrawable=[NEVER, 5, 6, NEVER]
    )
    blocks = [block(41, 0, 1, 2, 3)]
    assert slashed_at_end_of_epoch(MINIMAL, 5, validators, blocks).tolist() == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("epoch", range(FIRST_EPOCH, LAST_EPOCH + 1))
def test_the_next_states_registry_confirms_it(epoch: int) -> None:
    recording = devnet()
    spec = recording.spec
    blocks = recording.blocks(spec.first_slot(epoch), spec.last_slot(epoch))
    ours = slashed_at_end_of_epoch(spec, epoch, recording.registry(epoch), blocks)
    following = recording.registry(epoch + 1)
    boundary = recording.blocks(spec.first_slot(epoch + 1), spec.first_slot(epoch + 1))
    assert not any(block.slashed_indices for block in boundary)
    assert ours.tolist() == following.slashed[: len(ours)].tolist()


def test_penalties_worked_by_hand() -> None:
    # 320 ETH slashed of 34,000,000 ETH, for 32 ETH: see the vectors of the specification's rules.
    total = 34_000_000 * ETH
    assert correlation_penalty(MAINNET, 400_000, 32 * ETH, 320 * ETH, total) == 903_520
    assert correlation_penalty(MAINNET, 300_000, 32 * ETH, 320 * ETH, total) == 0
    assert correlation_penalty(MAINNET, 300_000, 32 * ETH, total, total) == 32 * ETH
    assert initial_slashing_penalty(MAINNET, 400_000, 32 * ETH) == 7_812_500
    assert initial_slashing_penalty(MAINNET, 300_000, 32 * ETH) == 10**9
    assert initial_slashing_penalty(MAINNET, 100_000, 32 * ETH) == 500_000_000


def test_the_correlation_penalty_is_due_halfway() -> None:
    vector = MINIMAL.epochs_per_slashings_vector
    validators = registry(
        index=range(4),
        slashed=[True, True, False, True],
        withdrawable=[50 + vector // 2, 51 + vector // 2, 50 + vector // 2, NEVER],
    )
    assert is_correlation_penalty_due(MINIMAL, 50, validators).tolist() == [
        True,
        False,
        False,
        False,
    ]


def test_slashed_balances_are_searched_from_todays_upwards() -> None:
    vector = MINIMAL.epochs_per_slashings_vector
    validators = registry(
        index=range(4),
        effective_balance=[29 * ETH, 32 * ETH, 31 * ETH, 32 * ETH],
        slashed=[True, True, True, False],
        # The second one was slashed too long ago, the last one never.
        withdrawable=[70 + vector, 70, 60 + vector, NEVER],
    )
    sums = slashed_balance_candidates(MINIMAL, 75, validators)
    assert sums[0] == 60 * ETH
    assert sums[-1] == 68 * ETH
    assert sums.step == ETH
