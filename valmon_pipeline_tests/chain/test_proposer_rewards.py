"""What blocks earned their proposers: as the specification paid, and as real nodes say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.canonical import CanonicalChain
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.proposer_rewards import (
    KnownParticipation,
    ProposerRewards,
    proposer_rewards,
)
from valmon_pipeline.chain.registry import BoolArray, ValidatorRegistry
from valmon_pipeline.chain.rewards import total_active_balance
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline_tests.recording import (
    LAST_EPOCH,
    Recording,
    devnet,
    kept_state,
    mainnet_devnet,
    ssz_devnet,
)
from valmon_pipeline_tests.specification_epochs import (
    BLOCK_PARTS,
    SPECIFICATION_EPOCHS,
    SpecificationEpoch,
    specification_epoch,
)

RECORDED = [
    *(pytest.param("devnet", epoch, id=f"devnet-{epoch}") for epoch in range(2, LAST_EPOCH + 3)),
    *(pytest.param("ssz", epoch, id=f"ssz-{epoch}") for epoch in range(2, 15)),
    *(pytest.param("mainnet", epoch, id=f"mainnet-{epoch}") for epoch in range(2, 11)),
]
every_specification_epoch = pytest.mark.parametrize("name", SPECIFICATION_EPOCHS)


def recording(name: str) -> Recording:
    return {"devnet": devnet, "ssz": ssz_devnet, "mainnet": mainnet_devnet}[name]()


def rows_of(rewards: ProposerRewards) -> list[list[int]]:
    columns = [getattr(rewards, part).tolist() for part in BLOCK_PARTS]
    return [list(row) for row in zip(*columns, strict=True)]


def of_known(
    known: SpecificationEpoch,
    *,
    blocks: Sequence[Block] | None = None,
    registry: ValidatorRegistry | None = None,
    committees: dict[int, Committees] | None = None,
    chain: CanonicalChain | None = None,
    participation: KnownParticipation | None = None,
    slashed_before: BoolArray | None = None,
) -> ProposerRewards:
    spec, epoch = known.spec, known.epoch
    registry = registry or known.registry()
    return proposer_rewards(
        spec,
        epoch,
        known.committees() if committees is None else committees,
        chain or known.chain(spec.last_slot(epoch)),
        known.blocks() if blocks is None else blocks,
        registry,
        total_active_balance(spec, registry, epoch),
        participation=participation,
        slashed_before=slashed_before,
    )


def due(known: SpecificationEpoch, first: int, last: int) -> list[list[int]]:
    return [row for row in known.truth["block_rewards"] if first <= row[0] <= last]


@every_specification_epoch
def test_every_part_is_what_the_specification_paid(name: str) -> None:
    known = specification_epoch(name)
    spec, epoch = known.spec, known.epoch
    ours = of_known(known, slashed_before=known.slashed_before())
    assert rows_of(ours) == due(known, spec.first_slot(epoch), spec.last_slot(epoch))
    assert ours.total.tolist() == [sum(row[2:]) for row in rows_of(ours)]


@every_specification_epoch
def test_the_first_block_of_the_next_epoch_is_paid_by_its_own_balances(name: str) -> None:
    known = specification_epoch(name)
    spec, epoch = known.spec, known.epoch + 1
    slot = spec.first_slot(epoch)
    expected = due(known, slot, slot)
    registry = known.registry_of_next()
    # The votes of epoch E + 1 itself are in no block yet: any committees of its slots will do.
    own = known.committees()[epoch - 1]
    committees = {epoch - 1: own, epoch: replace(own, slot=own.slot + spec.slots_per_epoch)}
    chain = known.chain(slot)
    ours = proposer_rewards(
        spec,
        epoch,
        committees,
        chain,
        known.blocks(),
        registry,
        total_active_balance(spec, registry, epoch),
        slashed_before=known.slashed_before_next(),
    )
    assert rows_of(ours) == expected


@every_specification_epoch
def test_the_flags_of_a_state_stand_for_all_blocks_before(name: str) -> None:
    known = specification_epoch(name)
    spec, epoch = known.spec, known.epoch
    first, last = spec.first_slot(epoch), spec.last_slot(epoch)
    after = [block for block in known.blocks() if block.slot > first]
    ours = of_known(known, blocks=after, participation=known.participation())
    assert rows_of(ours) == due(known, first + 1, last)


def test_the_specification_epochs_pay_for_everything() -> None:
    rows = [
        row
        for name in SPECIFICATION_EPOCHS
        for row in specification_epoch(name).truth["block_rewards"]
    ]
    for part in range(2, len(BLOCK_PARTS)):
        assert sum(row[part] > 0 for row in rows) >= 2, BLOCK_PARTS[part]


@pytest.mark.parametrize(("name", "epoch"), RECORDED)
def test_every_part_is_what_the_node_reports(name: str, epoch: int) -> None:
    chain = recording(name)
    spec = chain.spec
    ours = rewards_of_recording(chain, epoch)
    expected = []
    for block in chain.blocks(spec.first_slot(epoch), spec.last_slot(epoch)):
        node = chain.block_rewards(block.slot)
        assert node["total"] == sum(node[part] for part in BLOCK_PARTS[2:])
        expected.append([block.slot, *(node[part] for part in BLOCK_PARTS[1:])])
    assert rows_of(ours) == expected


@pytest.mark.parametrize("epoch", [2, 3, 5, 9])
def test_a_state_and_the_blocks_after_it_say_the_same(epoch: int) -> None:
    chain = mainnet_devnet()
    first = chain.spec.first_slot(epoch)
    for slot in (first - 1, first):
        known = KnownParticipation.of_state(chain.spec, kept_state("mainnet", slot))
        ours = rows_of(rewards_of_recording(chain, epoch, known))
        assert ours == [row for row in rows_of(rewards_of_recording(chain, epoch)) if row[0] > slot]


def rewards_of_recording(
    chain: Recording, epoch: int, participation: KnownParticipation | None = None
) -> ProposerRewards:
    spec = chain.spec
    first, last = spec.first_slot(epoch - 1), spec.last_slot(epoch)
    headers = [header for slot in range(first, last + 1) if (header := chain.header(slot))]
    registry = chain.registry(epoch)
    return proposer_rewards(
        spec,
        epoch,
        {one: chain.committees(one) for one in (epoch - 1, epoch)},
        CanonicalChain.from_headers(headers, first_slot=first, last_slot=last),
        chain.blocks(first, last),
        registry,
        total_active_balance(spec, registry, epoch),
        participation=participation,
    )


def test_votes_that_an_earlier_block_brought_are_not_paid_again() -> None:
    known = specification_epoch("electra")
    first = known.spec.first_slot(known.epoch)
    forgetful = [
        block if block.slot >= first else replace(block, attestations=())
        for block in known.blocks()
    ]
    slashed = known.slashed_before()
    ours = of_known(known, slashed_before=slashed).attestations.sum()
    assert of_known(known, blocks=forgetful, slashed_before=slashed).attestations.sum() > ours


def test_who_was_slashed_before_the_first_block_must_be_known_if_it_slashes_attesters() -> None:
    known = specification_epoch("electra_first")
    first = known.spec.first_slot(known.epoch)
    (block,) = (block for block in known.blocks() if block.slot == first)
    assert block.operations.attester_slashings
    with pytest.raises(ChainRuleViolationError, match=f"slot {first} slashes.*slashed_before"):
        of_known(known)
    # A proposer slashing in a valid block is always paid for.
    kept = known.blocks()
    index = known.registry().validator_index[~known.registry().slashed][0]
    registry = known.registry()
    registry.slashed[index] = True
    operations = replace(block.operations, attester_slashings=(), proposer_slashings=(int(index),))
    kept[kept.index(block)] = replace(block, operations=operations)
    ours = of_known(known, blocks=kept, registry=registry)
    quotient = known.spec.whistleblower_reward_quotient[block.fork]
    assert ours.proposer_slashings[0] == registry.effective_balance[index] // quotient


def test_what_is_missing_is_named() -> None:
    known = specification_epoch("fulu")
    spec, epoch = known.spec, known.epoch
    committees = dict(known.committees())
    del committees[epoch - 1]
    with pytest.raises(
        ChainRuleViolationError, match=f"committees of epoch {epoch - 1} are needed"
    ):
        of_known(known, committees=committees)
    with pytest.raises(
        ChainRuleViolationError, match="do not match their headers: without a block"
    ):
        of_known(known, blocks=known.blocks()[1:4])
    headers = [
        header
        for header in (mainnet_devnet().header(slot) for slot in range(128, 160))
        if header is not None
    ]
    late = CanonicalChain.from_headers(headers, first_slot=128, last_slot=159)
    with pytest.raises(
        ChainRuleViolationError, match=r"for slots 128…159, but .* need it from slot"
    ):
        of_known(known, chain=late)
    elsewhere = KnownParticipation(spec.first_slot(epoch + 1), {})
    with pytest.raises(ChainRuleViolationError, match=f"slot of epoch {epoch - 1} or {epoch}, not"):
        of_known(known, participation=elsewhere)
    few = KnownParticipation(spec.first_slot(epoch), {epoch: np.zeros(3, np.uint8)})
    with pytest.raises(ChainRuleViolationError, match=f"epoch {epoch} is known of 3 validators"):
        of_known(known, participation=few)


def test_an_epoch_without_blocks_earns_nothing() -> None:
    known = specification_epoch("fulu")
    first = known.spec.first_slot(known.epoch)
    chain = known.chain(first - 1)
    ours = of_known(known, blocks=[b for b in known.blocks() if b.slot < first], chain=chain)
    assert (len(ours), ours.total.tolist()) == (0, [])
