"""Draws by effective balance, where the outcome is plain to see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from valmon_pipeline.chain.balance_weighted_selection import balance_weighted_selection
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.swap_or_not import shuffled
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline_tests.chain.presets import MINIMAL
from valmon_pipeline_tests.chain.registries import ETH

SPEC = replace(MINIMAL, shuffle_round_count=10)
SEED = bytes(range(32))
ACTIVE = np.arange(40, 140)


@pytest.mark.parametrize(("fork", "most"), [(Fork.DENEB, 32 * ETH), (Fork.ELECTRA, 2048 * ETH)])
def test_with_the_maximum_balance_nobody_is_ever_rejected(fork: Fork, most: int) -> None:
    """Also not by the greatest random number; and after the last candidate comes the first."""
    everybody = np.full(100, most)
    drawn = balance_weighted_selection(SPEC, fork, ACTIVE, everybody, SEED, 1000)
    assert drawn.tolist() == shuffled(SPEC, ACTIVE, SEED).tolist() * 10


@pytest.mark.parametrize("fork", [Fork.DENEB, Fork.ELECTRA])
def test_a_balance_half_as_large_is_drawn_half_as_often(fork: Fork) -> None:
    balance = np.where(ACTIVE % 2 == 0, 32, 16) * ETH
    drawn = balance_weighted_selection(SPEC, fork, ACTIVE, balance, SEED, 6000)
    assert np.mean(drawn % 2) == pytest.approx(1 / 3, abs=0.03)


def test_one_rich_validator_is_found_among_many_without_a_balance() -> None:
    balance = np.where(ACTIVE == 77, 1000, 0) * ETH
    drawn = balance_weighted_selection(SPEC, Fork.ELECTRA, ACTIVE, balance, SEED, 20)
    assert (drawn == 77).sum() >= 18


def test_without_any_balance_nobody_can_be_drawn() -> None:
    with pytest.raises(ChainRuleViolationError, match="none of 100 active validators has an eff"):
        balance_weighted_selection(SPEC, Fork.DENEB, ACTIVE, np.zeros(100, np.int64), SEED, 1)
