from __future__ import annotations

import numpy as np
import pytest

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.status import ValidatorStatus, is_active, is_eligible, validator_status
from valmon_pipeline_tests.chain.registries import ETH, registry

LIFE = [
    # eligibility, activation, exit, withdrawable, slashed, ETH, status at epoch 10
    (NEVER, NEVER, NEVER, NEVER, False, 1, "pending_initialized"),
    (9, NEVER, NEVER, NEVER, False, 32, "pending_queued"),
    (9, 11, NEVER, NEVER, False, 32, "pending_queued"),
    (0, 10, NEVER, NEVER, False, 32, "active_ongoing"),
    (0, 0, 11, 15, False, 32, "active_exiting"),
    (0, 0, 11, 75, True, 32, "active_slashed"),
    (0, 0, 10, 11, False, 32, "exited_unslashed"),
    (0, 0, 10, 11, True, 32, "exited_slashed"),
    (0, 0, 5, 10, False, 1, "withdrawal_possible"),
    (0, 0, 5, 10, True, 1, "withdrawal_possible"),
    (0, 0, 5, 10, False, 0, "withdrawal_done"),
]
VALIDATORS = registry(
    index=range(len(LIFE)),
    eligibility=[row[0] for row in LIFE],
    activation=[row[1] for row in LIFE],
    exit_epoch=[row[2] for row in LIFE],
    withdrawable=[row[3] for row in LIFE],
    slashed=[row[4] for row in LIFE],
    effective_balance=[row[5] * ETH for row in LIFE],
)


def test_each_status_of_a_life() -> None:
    names = list(ValidatorStatus)
    codes = validator_status(VALIDATORS, 10)
    assert codes.dtype == np.int8
    assert [names[code] for code in codes.tolist()] == [row[6] for row in LIFE]


@pytest.mark.parametrize("status", ValidatorStatus)
def test_codes_are_positions(status: ValidatorStatus) -> None:
    assert list(ValidatorStatus)[status.code] is status


def test_activity_includes_the_slashed_until_they_exit() -> None:
    expected = [row[6].startswith("active") for row in LIFE]
    assert is_active(VALIDATORS, 10).tolist() == expected


def test_eligible_are_the_active_and_the_slashed_until_they_can_withdraw() -> None:
    slashed = registry(
        index=range(4),
        exit_epoch=[10] * 4,
        withdrawable=[12, 11, 12, 11],
        slashed=[True, True, False, False],
    )
    assert is_eligible(slashed, 9).tolist() == [True, True, True, True]
    # In epoch 10 all have exited; the second can withdraw in 11, when votes of 10 are rewarded.
    assert is_eligible(slashed, 10).tolist() == [True, False, False, False]
    assert is_eligible(slashed, 11).tolist() == [False] * 4
