from __future__ import annotations

import numpy as np
import pytest

from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.sync_committee import (
    sync_participant_reward,
    sync_participation,
)
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline_tests.chain.presets import MAINNET, MINIMAL
from valmon_pipeline_tests.chain.registries import ETH

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
