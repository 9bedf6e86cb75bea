from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valmon_pipeline.chain.attestations import AttestationOutcomes, attestation_outcomes
from valmon_pipeline.chain.blocks import Attestation, Block
from valmon_pipeline.chain.canonical import CanonicalChain
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import ChainRuleViolationError, UnsupportedForkError
from valmon_pipeline_tests.chain.presets import MINIMAL
from valmon_pipeline_tests.chain.voting import WRONG_ROOT, attestation, chain_of, root_of

EPOCH = 5
FIRST, LAST = 40, 55  # S_E and L_{E+1} with the minimal preset's eight slots
ALTAIR = replace(MINIMAL, fork_epochs={Fork.PHASE0: 0, Fork.ALTAIR: 0})
DENEB = replace(MINIMAL, fork_epochs={Fork.PHASE0: 0, Fork.DENEB: 0})
DENEB_NEXT = replace(MINIMAL, fork_epochs={Fork.PHASE0: 0, Fork.CAPELLA: 0, Fork.DENEB: EPOCH + 1})
ELECTRA = replace(MINIMAL, fork_epochs={Fork.PHASE0: 0, Fork.ELECTRA: 0})
ELECTRA_NEXT = replace(
    MINIMAL, fork_epochs={Fork.PHASE0: 0, Fork.DENEB: 0, Fork.ELECTRA: EPOCH + 1}
)
SPECS = {
    "Altair": ALTAIR,
    "Deneb": DENEB,
    "Deneb from the next epoch": DENEB_NEXT,
    "Electra": ELECTRA,
    "Electra from the next epoch": ELECTRA_NEXT,
}
PAIRS = Committees.from_rows(range(FIRST, FIRST + 8), [0] * 8, [2] * 8, range(16))


def outcomes(
    spec: ChainSpec,
    present: Sequence[int],
    votes: dict[int, list[Attestation]],
    committees: Committees = PAIRS,
) -> AttestationOutcomes:
    """Outcomes of EPOCH where only some slots have blocks, the one before the window included."""
    forks = {slot: spec.fork_at_slot(slot) for slot in present}
    headers, blocks = chain_of(forks, votes, parent=FIRST - 1)
    chain = CanonicalChain.from_headers(headers, first_slot=FIRST, last_slot=LAST)
    return attestation_outcomes(spec, EPOCH, committees, chain, blocks)


def vote(
    spec: ChainSpec,
    slot: int,
    included_at: int,
    bits: Sequence[bool] = (True, True),
    *,
    target: bytes = root_of(FIRST),
    head: bytes | None = None,
) -> Attestation:
    electra = spec.fork_at_slot(included_at) >= Fork.ELECTRA
    return attestation(
        slot,
        bits,
        target_epoch=EPOCH,
        target_root=target,
        head_root=root_of(slot) if head is None else head,
        committees=[0] if electra else None,
    )


def flags(result: AttestationOutcomes, duty: int) -> tuple[bool, bool, bool]:
    return (
        bool(result.source_timely[duty]),
        bool(result.target_timely[duty]),
        bool(result.head_timely[duty]),
    )


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        (1, (True, True, True)),
        (2, (True, True, False)),  # isqrt(8) = 2
        (3, (False, True, False)),
        (8, (False, True, False)),
    ],
)
def test_timely_flags_by_inclusion_delay(
    spec: ChainSpec, delay: int, expected: tuple[bool, bool, bool]
) -> None:
    block = 41 + delay
    result = outcomes(spec, range(FIRST, LAST + 1), {block: [vote(spec, 41, block)]})
    assert flags(result, 2) == flags(result, 3) == expected
    assert result.inclusion_delay.tolist() == [-1, -1, delay, delay] + [-1] * 12
    assert result.inclusion_slot[2] == block
    assert result.earliest_inclusion_slot.tolist() == np.repeat(np.arange(41, 49), 2).tolist()
    assert result.included.sum() == 2
    assert result.head_correct[2]


@pytest.mark.parametrize("spec", [DENEB, DENEB_NEXT, ELECTRA, ELECTRA_NEXT])
def test_since_deneb_a_target_vote_counts_until_the_end_of_the_next_epoch(spec: ChainSpec) -> None:
    result = outcomes(spec, range(FIRST, LAST + 1), {LAST: [vote(spec, FIRST, LAST)]})
    assert result.inclusion_delay[0] == 15
    assert flags(result, 0) == (False, True, False)


def test_before_deneb_the_window_is_one_epochs_worth_of_slots() -> None:
    with pytest.raises(ChainRuleViolationError, match=r"slot 40 in the block of slot 49 \(ALTAIR"):
        outcomes(ALTAIR, range(FIRST, LAST + 1), {49: [vote(ALTAIR, FIRST, 49)]})


def test_a_vote_in_its_own_slot_is_impossible() -> None:
    with pytest.raises(ChainRuleViolationError, match="outside its inclusion window"):
        outcomes(DENEB, range(FIRST, LAST + 1), {41: [vote(DENEB, 41, 41)]})


def test_the_head_of_a_skipped_slot_is_the_block_before_it() -> None:
    present = [slot for slot in range(FIRST, LAST + 1) if slot != 42]
    right = vote(ELECTRA, 42, 43, [True, False], head=root_of(41))
    wrong = vote(ELECTRA, 42, 43, [False, True], head=root_of(40))
    result = outcomes(ELECTRA, present, {43: [right, wrong]})
    assert flags(result, 4) == (True, True, True)
    assert flags(result, 5) == (True, True, False)
    assert result.head_correct[4:6].tolist() == [True, False]


def test_the_target_of_an_epoch_whose_first_slot_is_skipped_is_the_block_before() -> None:
    before = root_of(FIRST - 1)
    first_vote = vote(ELECTRA, FIRST, 41, target=before, head=before)
    result = outcomes(ELECTRA, range(FIRST + 1, LAST + 1), {41: [first_vote]})
    assert flags(result, 0) == (True, True, True)


def test_a_wrong_target_makes_the_head_wrong_too() -> None:
    result = outcomes(
        ELECTRA, range(FIRST, LAST + 1), {42: [vote(ELECTRA, 41, 42, target=WRONG_ROOT)]}
    )
    assert flags(result, 2) == (True, False, False)
    assert not result.target_correct[2]
    assert not result.head_correct[2]


def test_the_first_inclusion_counts_and_flags_are_united() -> None:
    votes = {
        42: [vote(ELECTRA, 41, 42, [True, False], head=WRONG_ROOT, target=WRONG_ROOT)],
        43: [vote(ELECTRA, 41, 43), vote(ELECTRA, 41, 43, [False, True])],
        46: [vote(ELECTRA, 41, 46)],
    }
    result = outcomes(ELECTRA, range(FIRST, LAST + 1), votes)
    assert result.inclusion_slot[2:4].tolist() == [42, 43]
    assert flags(result, 2) == flags(result, 3) == (True, True, False)


@pytest.mark.parametrize(
    ("spec", "earliest"),
    [
        # The block of slot 50 is too late for slots 40 and 41 before Deneb, and for none since.
        (ALTAIR, [-1, -1, 50, 50]),
        (DENEB, [50, 50, 50, 50]),
        (DENEB_NEXT, [50, 50, 50, 50]),
    ],
)
def test_opportunity_ends_with_the_window(spec: ChainSpec, earliest: list[int]) -> None:
    result = outcomes(spec, [FIRST, 50], {})
    assert result.earliest_inclusion_slot[[0, 2, 4, 14]].tolist() == earliest


def test_without_a_block_in_the_window_nobody_had_an_opportunity() -> None:
    result = outcomes(ELECTRA, [FIRST], {})
    assert result.earliest_inclusion_slot.tolist() == [-1] * 16
    assert not result.included.any()
    assert outcomes(ELECTRA, [], {}).earliest_inclusion_slot.tolist() == [-1] * 16


def test_a_source_that_nobody_could_cast_in_time_is_not_timely() -> None:
    present = [FIRST, *range(44, LAST + 1)]
    late = vote(ELECTRA, 41, 44, head=root_of(FIRST))
    result = outcomes(ELECTRA, present, {44: [late]})
    assert result.earliest_inclusion_slot[2] == 44
    assert flags(result, 2) == (False, True, False)


def test_votes_of_other_epochs_are_left_alone() -> None:
    other = attestation(
        39,
        [True] * 9,
        target_epoch=EPOCH - 1,
        target_root=WRONG_ROOT,
        head_root=WRONG_ROOT,
        committees=[0],
    )
    assert not outcomes(ELECTRA, range(FIRST, LAST + 1), {41: [other]}).included.any()


def test_a_target_epoch_that_is_not_the_slots_is_refused() -> None:
    wrong = replace(vote(ELECTRA, 41, 42), target_epoch=EPOCH + 1)
    with pytest.raises(ChainRuleViolationError, match="target epoch 6, but its slot is of epoch 5"):
        outcomes(ELECTRA, range(FIRST, LAST + 1), {42: [wrong]})


def test_epochs_outside_the_supported_forks_are_refused() -> None:
    for fork_epochs, name in (
        ({Fork.PHASE0: 0, Fork.ALTAIR: EPOCH + 1}, "PHASE0"),
        ({Fork.PHASE0: 0, Fork.FULU: 0, Fork.GLOAS: EPOCH + 1}, "GLOAS"),
    ):
        with pytest.raises(UnsupportedForkError, match=name):
            outcomes(replace(ELECTRA, fork_epochs=fork_epochs), [FIRST], {})


def window_of(spec: ChainSpec) -> tuple[CanonicalChain, list[Block]]:
    forks = {slot: spec.fork_at_slot(slot) for slot in range(FIRST, LAST + 1)}
    headers, blocks = chain_of(forks, {}, parent=FIRST - 1)
    return CanonicalChain.from_headers(headers, first_slot=FIRST, last_slot=LAST), blocks


def test_blocks_that_are_not_those_of_the_chain_are_refused() -> None:
    chain, blocks = window_of(ELECTRA)
    with pytest.raises(ChainRuleViolationError, match=r"without a block \[47\]"):
        attestation_outcomes(
            ELECTRA, EPOCH, PAIRS, chain, [block for block in blocks if block.slot != 47]
        )
    with pytest.raises(ChainRuleViolationError, match="not ascending"):
        attestation_outcomes(ELECTRA, EPOCH, PAIRS, chain, blocks[::-1])
    stranger = replace(blocks[5], parent_root=WRONG_ROOT)
    with pytest.raises(ChainRuleViolationError, match="different chains"):
        attestation_outcomes(ELECTRA, EPOCH, PAIRS, chain, [*blocks[:5], stranger, *blocks[6:]])
    with pytest.raises(ChainRuleViolationError, match="ELECTRA block, but the chain is at DENEB"):
        attestation_outcomes(DENEB, EPOCH, PAIRS, chain, blocks)


def test_a_chain_or_committees_of_another_epoch_are_refused() -> None:
    chain, blocks = window_of(ELECTRA)
    later = Committees.from_rows(range(48, 56), [0] * 8, [2] * 8, range(16))
    with pytest.raises(ChainRuleViolationError, match=r"need 48…63"):
        attestation_outcomes(ELECTRA, EPOCH + 1, later, chain, blocks)
    with pytest.raises(ChainRuleViolationError, match=r"expected 48…55 of epoch 6"):
        attestation_outcomes(ELECTRA, EPOCH + 1, PAIRS, chain, blocks)


def expected_outcome(
    spec: ChainSpec,
    present: Sequence[int],
    ballots: dict[int, list[tuple[int, Attestation]]],
    slot: int,
    validator: int,
) -> tuple[object, ...]:
    """The rules for one validator, as a person would apply them; ballots: its votes by block."""

    def canonical(at: int) -> bytes:
        return root_of(max((block for block in present if block <= at), default=FIRST - 1))

    def in_window(block: int) -> bool:
        deneb = spec.fork_at_slot(block) >= Fork.DENEB
        return slot < block and (deneb or block <= slot + 8)

    cast = ballots.get(validator, [])
    inclusion = min((block for block, _ in cast), default=-1)
    right_target = [(b, v) for b, v in cast if v.target_root == canonical(FIRST)]
    right_head = [(b, v) for b, v in right_target if v.beacon_block_root == canonical(slot)]
    return (
        slot,
        inclusion,
        inclusion - slot if cast else -1,
        min((block for block in present if in_window(block)), default=-1),
        bool(cast),
        bool(right_target),
        bool(right_head),
        any(block - slot <= isqrt(8) for block, _ in cast),
        bool(right_target),
        any(block - slot == 1 for block, _ in right_head),
    )


@settings(deadline=None)
@given(
    spec=st.sampled_from(list(SPECS.values())),
    present=st.sets(st.integers(FIRST, LAST)).map(sorted),
    committee_count=st.integers(1, 4),
    active=st.integers(32, 75),
    seed=st.integers(0, 2**32),
)
def test_any_epoch_comes_out_as_the_rules_say_validator_by_validator(
    spec: ChainSpec, present: list[int], committee_count: int, active: int, seed: int
) -> None:
    chance = random.Random(seed)
    members = chance.sample(range(1000), active)
    count = committee_count * 8
    cuts = [active * i // count for i in range(count + 1)]
    committees = Committees.from_rows(
        np.repeat(np.arange(FIRST, FIRST + 8), committee_count),
        np.tile(np.arange(committee_count), 8),
        np.diff(cuts),
        members,
    )
    roots = [WRONG_ROOT, *(root_of(slot) for slot in (FIRST - 1, *present))]
    votes: dict[int, list[Attestation]] = {}
    ballots: dict[int, list[tuple[int, Attestation]]] = {}
    for block in present:
        fork = spec.fork_at_slot(block)
        for _ in range(chance.randrange(5)):
            slot = chance.randrange(FIRST, FIRST + 8)
            if slot >= block or (fork < Fork.DENEB and block > slot + 8):
                continue
            named = sorted(
                chance.sample(range(committee_count), chance.randint(1, committee_count))
            )
            if fork < Fork.ELECTRA:
                named = named[:1]
            bits: list[bool] = []
            voters: list[int] = []
            for index in named:
                row = (slot - FIRST) * committee_count + index
                committee = members[cuts[row] : cuts[row + 1]]
                own = [chance.random() < 0.6 for _ in committee]
                own[chance.randrange(len(own))] = True
                bits += own
                voters += [v for v, bit in zip(committee, own, strict=True) if bit]
            canonical_head = max((b for b in present if b <= slot), default=FIRST - 1)
            canonical_target = max((b for b in present if b <= FIRST), default=FIRST - 1)
            cast = attestation(
                slot,
                bits,
                target_epoch=EPOCH,
                target_root=chance.choice([*roots, *[root_of(canonical_target)] * 9]),
                head_root=chance.choice([*roots, *[root_of(canonical_head)] * 9]),
                committee_index=0 if fork >= Fork.ELECTRA else named[0],
                committees=named if fork >= Fork.ELECTRA else None,
            )
            votes.setdefault(block, []).append(cast)
            for voter in voters:
                ballots.setdefault(voter, []).append((block, cast))

    result = outcomes(spec, present, votes, committees)

    for row, validator in enumerate(result.validator_index.tolist()):
        slot = int(result.slot[row])
        actual = tuple(
            column[row].item()
            for column in (
                result.slot,
                result.inclusion_slot,
                result.inclusion_delay,
                result.earliest_inclusion_slot,
                result.included,
                result.target_correct,
                result.head_correct,
                result.source_timely,
                result.target_timely,
                result.head_timely,
            )
        )
        assert actual == expected_outcome(spec, present, ballots, slot, validator)
