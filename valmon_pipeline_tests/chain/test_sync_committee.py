from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.rewards import total_active_balance
from valmon_pipeline.chain.sync_committee import (
    sync_participant_reward,
    sync_participation,
    sync_rewards,
)
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline_tests.chain.presets import MAINNET, MINIMAL
from valmon_pipeline_tests.chain.registries import ETH
from valmon_pipeline_tests.recording import (
    FIRST_EPOCH,
    LAST_EPOCH,
    Recording,
    devnet,
    mainnet_devnet,
    ssz_devnet,
)
from valmon_pipeline_tests.specification_epochs import SPECIFICATION_EPOCHS, specification_epoch

# 32 seats; validator 3 holds two of them, validator 0 the first.
SEATS = np.array([0, 3, *range(5, 34), 3])


def block(bits: bytes | None) -> Block:
    return Block(8, 0, b"", Fork.ELECTRA, (), bits)


def test_amounts_worked_by_hand() -> None:
    assert sync_participant_reward(MAINNET, 34_000_000 * ETH) == 22_502


def test_seats_are_counted_not_validators() -> None:
    blocks = [block(bytes.fromhex("03000000")), block(bytes.fromhex("ffffffff"))]
    part = sync_participation(MINIMAL, SEATS, blocks)
    assert part.validator_index.tolist() == [0, 3, *range(5, 34)]
    assert part.seats.tolist() == [1, 2] + [1] * 29
    assert part.due.tolist() == [2, 4] + [2] * 29
    assert part.participated.tolist() == [2, 3] + [1] * 29
    assert part.missed.tolist() == [0, 1] + [1] * 29
    assert len(part) == 31


def test_without_blocks_nothing_is_due() -> None:
    part = sync_participation(MINIMAL, SEATS, [])
    assert part.due.tolist() == part.missed.tolist() == [0] * 31


def test_committees_and_bits_of_a_wrong_size_are_refused() -> None:
    with pytest.raises(
        ChainRuleViolationError, match="31 seats, expected SYNC_COMMITTEE_SIZE = 32"
    ):
        sync_participation(MINIMAL, SEATS[1:], [])
    with pytest.raises(ChainRuleViolationError, match="has 3 bytes, expected 4"):
        sync_participation(MINIMAL, SEATS, [block(b"\0\0\0")])
    with pytest.raises(ChainRuleViolationError, match="slot 8 has no sync aggregate"):
        sync_participation(MINIMAL, SEATS, [block(None)])


def test_a_members_seats_are_netted_in_every_block() -> None:
    blocks = [block(bytes.fromhex("03000000")), block(bytes.fromhex("ffffff7f"))]
    rewards = sync_rewards(MINIMAL, SEATS, [replace(blocks[0], slot=9), blocks[1]], 1000 * ETH)
    seat = sync_participant_reward(MINIMAL, 1000 * ETH)
    assert seat > 0
    assert rewards.validator_index.tolist() == [0, 3, *range(5, 34)]
    assert (rewards.slot.tolist(), rewards.seats.tolist()) == ([9, 8], [1, 2] + [1] * 29)
    # Validator 3 signed with one of two seats in both; the others missed the first block.
    assert rewards.reward.tolist() == [[seat, 0] + [-seat] * 29, [seat, 0] + [seat] * 29]
    assert rewards.total.tolist() == [2 * seat, 0] + [0] * 29


def test_without_blocks_members_earn_nothing() -> None:
    rewards = sync_rewards(MINIMAL, SEATS, [], 1000 * ETH)
    assert rewards.reward.shape == (0, 31)
    assert rewards.total.tolist() == [0] * 31


def test_blocks_of_several_epochs_or_other_seats_are_refused() -> None:
    two = [block(bytes(4)), replace(block(bytes(4)), slot=16)]
    with pytest.raises(ChainRuleViolationError, match=r"one epoch at a time.*epochs \[1, 2\]"):
        sync_rewards(MINIMAL, SEATS, two, 1000 * ETH)
    with pytest.raises(ChainRuleViolationError, match="31 seats, expected"):
        sync_rewards(MINIMAL, SEATS[1:], two[:1], 1000 * ETH)


@pytest.mark.parametrize("name", SPECIFICATION_EPOCHS)
def test_members_earn_what_the_specification_pays(name: str) -> None:
    known = specification_epoch(name)
    spec, epoch, registry = known.spec, known.epoch, known.registry()
    blocks = [one for one in known.blocks() if spec.epoch_of(one.slot) == epoch]
    seats = np.array(known.truth["sync_committee"])
    rewards = sync_rewards(spec, seats, blocks, total_active_balance(spec, registry, epoch))
    for row, expected in zip(rewards.reward, known.truth["sync_rewards"], strict=True):
        ours = np.stack([rewards.validator_index, row], axis=1).tolist()
        assert ours == expected


@pytest.mark.parametrize(
    ("chain", "epochs"),
    [
        (devnet, range(FIRST_EPOCH, LAST_EPOCH + 3)),
        (ssz_devnet, range(1, 15)),
        (mainnet_devnet, range(1, 11)),
    ],
    ids=["devnet", "ssz", "mainnet"],
)
def test_members_earn_what_nodes_report(chain: Callable[[], Recording], epochs: range) -> None:
    recording = chain()
    spec = recording.spec
    for epoch in epochs:
        total = total_active_balance(spec, recording.registry(epoch), epoch)
        blocks = recording.blocks(spec.first_slot(epoch), spec.last_slot(epoch))
        rewards = sync_rewards(spec, recording.sync_committee(epoch), blocks, total)
        for one, row in zip(blocks, rewards.reward.tolist(), strict=True):
            ours = dict(zip(rewards.validator_index.tolist(), row, strict=True))
            assert ours == recording.sync_rewards(one.slot)
