from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from valmon_pipeline.chain.aggregates import attesting_duties
from valmon_pipeline.chain.blocks import Attestation
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline_tests.chain.presets import MAINNET
from valmon_pipeline_tests.chain.voting import WRONG_ROOT, attestation

# 18 committees per slot of 3 members, but committee 1 of the first slot has 4: positions in the
# concatenation then depend on the real lengths.
LENGTHS = [3] * 18 * 32
LENGTHS[1] = 4
COMMITTEES = Committees.from_rows(
    np.repeat(np.arange(64, 96), 18),
    np.tile(np.arange(18), 32),
    LENGTHS,
    np.arange(sum(LENGTHS))[::-1].copy(),
)


def electra(bits: list[int], committees: list[int], slot: int = 64) -> Attestation:
    return attestation(
        slot,
        [bool(bit) for bit in bits],
        target_epoch=2,
        target_root=WRONG_ROOT,
        head_root=WRONG_ROOT,
        committees=committees,
        max_committees=64,
    )


def before_electra(bits: list[int], committee_index: int, slot: int = 64) -> Attestation:
    return replace(electra(bits, [], slot), committee_index=committee_index, committee_bits=None)


def attesters(given: Attestation, fork: Fork) -> list[tuple[int, int]]:
    """(committee row, position) of each attester."""
    rows = attesting_duties(MAINNET, COMMITTEES, given, fork)
    committee = COMMITTEES.committee_of_duty[rows]
    return list(zip(committee.tolist(), COMMITTEES.duty_position[rows].tolist(), strict=True))


def test_committees_of_an_electra_aggregate_need_not_be_neighbours() -> None:
    given = replace(
        electra([1, 0, 1, 0, 0, 1, 0, 1, 1, 1], [1, 9, 17]),
        committee_bits=bytes.fromhex("0202020000000000"),
    )
    assert attesters(given, Fork.ELECTRA) == [(1, 0), (1, 2), (9, 1), (17, 0), (17, 1), (17, 2)]


def test_an_aggregate_of_a_later_slot_uses_that_slots_committees() -> None:
    assert attesters(electra([0, 1, 0], [0], slot=65), Fork.FULU) == [(18, 1)]
    assert attesters(before_electra([0, 0, 1], 17, slot=95), Fork.DENEB) == [(18 * 32 - 1, 2)]


def test_before_electra_the_index_names_the_committee() -> None:
    assert attesters(before_electra([1, 0, 0, 1], 1), Fork.ALTAIR) == [(1, 0), (1, 3)]


@pytest.mark.parametrize(
    ("given", "fork", "message"),
    [
        (electra([1, 1, 1], [1]), Fork.ELECTRA, r"3 aggregation bits.*\[1\] have \[4\] members"),
        (electra([1] * 8, [0, 1]), Fork.ELECTRA, "8 aggregation bits"),
        (electra([1] * 3 + [0] * 4, [0, 1]), Fork.ELECTRA, r"committees \[1\] without any"),
        (electra([], []), Fork.ELECTRA, "names no committee"),
        (electra([1] * 3, [18]), Fork.ELECTRA, "committee 18, but slots have 18 committees"),
        (replace(electra([1] * 3, [0]), committee_index=1), Fork.FULU, "index 1, which is 0"),
        (replace(electra([1] * 3, [0]), committee_bits=b"\1"), Fork.ELECTRA, "has 1 bytes"),
        (before_electra([1] * 3, 0), Fork.ELECTRA, "no committee_bits in a block since Electra"),
        (electra([1] * 3, [0]), Fork.DENEB, "committee_bits in a block before Electra"),
        (before_electra([1] * 4, 0), Fork.DENEB, "4 aggregation bits"),
        (before_electra([1] * 3, 18), Fork.DENEB, "committee 18, but"),
        (replace(before_electra([], 0), aggregation_bits=b""), Fork.DENEB, "length marker"),
    ],
)
def test_bits_that_do_not_fit_their_committees_are_refused_not_cut(
    given: Attestation, fork: Fork, message: str
) -> None:
    with pytest.raises(ChainRuleViolationError, match=message):
        attesting_duties(MAINNET, COMMITTEES, given, fork)
