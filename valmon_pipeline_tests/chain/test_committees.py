from __future__ import annotations

import numpy as np
import pytest

from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline_tests.chain.presets import MINIMAL
from valmon_pipeline_tests.recording import FIRST_EPOCH, LAST_EPOCH, devnet


def test_committees_given_in_any_order_are_sorted_with_their_members() -> None:
    committees = Committees.from_rows(
        [9, 8, 9, 8], [1, 1, 0, 0], [2, 3, 2, 2], [70, 71, 10, 11, 12, 50, 51, 30, 31]
    )
    assert committees.slot.tolist() == [8, 8, 9, 9]
    assert committees.committee_index.tolist() == [0, 1, 0, 1]
    assert committees.length.tolist() == [2, 3, 2, 2]
    assert committees.offset.tolist() == [0, 2, 5, 7]
    assert committees.validator_index.tolist() == [30, 31, 10, 11, 12, 50, 51, 70, 71]
    assert committees.committees_per_slot == 2
    assert committees.committee_of_duty.tolist() == [0, 0, 1, 1, 1, 2, 2, 3, 3]
    assert committees.duty_slot.tolist() == [8, 8, 8, 8, 8, 9, 9, 9, 9]
    assert committees.duty_committee_index.tolist() == [0, 0, 1, 1, 1, 0, 0, 1, 1]
    assert committees.duty_position.tolist() == [0, 1, 0, 1, 2, 0, 1, 0, 1]
    assert committees.duty_committee_length.tolist() == [2, 2, 3, 3, 3, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("slot", "index", "length", "flat", "message"),
    [
        ([], [], [], [], "at least one committee"),
        ([8, 9], [0], [1, 1], [1, 2], "2 slots, 1 indices"),
        ([8, 9], [0, 0], [1, 2], [1, 2], "add up to 3, but 2 members"),
        ([8, 9], [0, 0], [3, -1], [1, 2], "add up to 2"),
        ([8, 10], [0, 0], [1, 1], [1, 2], "same committees"),
        ([8, 8, 9], [0, 1, 0], [1, 1, 1], [1, 2, 3], r"same committees.*slot 8: \[0, 1\]"),
        ([8, 9], [0, 1], [1, 1], [1, 2], r"slot 9: \[1\]"),
        ([8, 8, 9, 9], [0, 0, 0, 1], [1] * 4, [1, 2, 3, 4], r"slot 8: \[0, 0\]"),
        ([8, 9], [0, 0], [1, 3], [1, 2, 3, 4], "committee 0 of slot 9 has 3 members"),
        ([8, 9], [0, 0], [1, 1], [7, 7], "validator 7 has more than one duty"),
        ([8, 9], [0, 0], [1, 1], [1, -2], "validator index -2 is negative"),
        ([8, 9], [0, 0], [1, 1], [1.0, 2.0], "column of integers"),
        ([8, 9], [0, 0], [1, 1], np.array([1, 2**63], np.uint64), "does not fit int64"),
    ],
)
def test_contradictory_committees_are_refused(
    slot: list[int], index: list[int], length: list[int], flat: list[int], message: str
) -> None:
    with pytest.raises(ChainRuleViolationError, match=message):
        Committees.from_rows(slot, index, length, flat)


def test_committees_of_another_or_half_an_epoch_are_refused() -> None:
    committees = Committees.from_rows(range(8, 16), [0] * 8, [1] * 8, range(8))
    committees.require_epoch(MINIMAL, 1)
    with pytest.raises(ChainRuleViolationError, match=r"8…15, expected 16…23 of epoch 2"):
        committees.require_epoch(MINIMAL, 2)
    half = Committees.from_rows(range(8, 12), [0] * 4, [1] * 4, range(4))
    with pytest.raises(ChainRuleViolationError, match=r"8…11, expected 8…15 of epoch 1"):
        half.require_epoch(MINIMAL, 1)


def test_more_committees_than_the_chain_allows_are_refused() -> None:
    slots, index = np.repeat(np.arange(8, 16), 5), np.tile(np.arange(5), 8)
    committees = Committees.from_rows(slots, index, [1] * 40, range(40))
    with pytest.raises(ChainRuleViolationError, match="MAX_COMMITTEES_PER_SLOT = 4"):
        committees.require_epoch(MINIMAL, 1)


@pytest.mark.parametrize("epoch", range(FIRST_EPOCH, LAST_EPOCH + 1))
def test_every_active_validator_of_the_recording_has_one_duty(epoch: int) -> None:
    committees, registry = devnet().committees(epoch), devnet().registry(epoch)
    committees.require_epoch(devnet().spec, epoch)
    active = (registry.activation_epoch <= epoch) & (epoch < registry.exit_epoch)
    members = np.sort(committees.validator_index)
    assert members.tolist() == registry.validator_index[active].tolist()
