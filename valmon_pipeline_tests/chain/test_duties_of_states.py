"""Committees, proposers and sync committees of states: as the specification and real nodes say."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.chain.committee_shuffling import (
    committee_lengths,
    committees_by_shuffling,
    committees_of_state,
)
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.proposer_selection import proposers_by_seed, proposers_of_state
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.seeds import (
    DOMAIN_BEACON_PROPOSER,
    active_validators,
    seed_of,
    seed_of_state,
)
from valmon_pipeline.chain.swap_or_not import shuffled
from valmon_pipeline.chain.sync_committee_selection import (
    next_sync_committee_indices,
    sync_committee_of_state,
)
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline_tests.chain.presets import MAINNET
from valmon_pipeline_tests.recording import Recording, kept_state, mainnet_devnet, ssz_devnet
from valmon_pipeline_tests.specification_epochs import SPECIFICATION_EPOCHS, specification_epoch

SSZ_EPOCHS = range(1, 15)
MAINNET_EPOCHS = range(1, 11)
KEPT = [
    *(pytest.param("ssz", epoch, id=f"ssz-{epoch}") for epoch in SSZ_EPOCHS),
    *(pytest.param("mainnet", epoch, id=f"mainnet-{epoch}") for epoch in MAINNET_EPOCHS),
]
every_kept_state = pytest.mark.parametrize(("name", "epoch"), KEPT)
every_specification_epoch = pytest.mark.parametrize("name", SPECIFICATION_EPOCHS)


def recording(name: str) -> Recording:
    return {"ssz": ssz_devnet, "mainnet": mainnet_devnet}[name]()


def state_of(name: str, epoch: int) -> BeaconState:
    return kept_state(name, recording(name).spec.first_slot(epoch))


def assert_same_committees(ours: Committees, theirs: Committees) -> None:
    for column in ("slot", "committee_index", "offset", "length", "validator_index"):
        assert getattr(ours, column).tolist() == getattr(theirs, column).tolist(), column


def test_the_specification_epochs_are_of_every_set_of_rules() -> None:
    forks = {specification_epoch(name).state().fork for name in SPECIFICATION_EPOCHS}
    assert forks == {Fork.DENEB, Fork.ELECTRA, Fork.FULU}
    drawn = [
        specification_epoch(name).truth["next_sync_committee"] for name in SPECIFICATION_EPOCHS
    ]
    assert len([seats for seats in drawn if seats is not None]) == 5


@every_specification_epoch
def test_committees_are_those_of_the_specification(name: str) -> None:
    known = specification_epoch(name)
    for epoch, committees in known.committees().items():
        assert_same_committees(committees_of_state(known.spec, known.state(), epoch), committees)


@every_specification_epoch
def test_proposers_are_those_of_the_specification(name: str) -> None:
    known = specification_epoch(name)
    ours = proposers_of_state(known.spec, known.state(), known.epoch)
    assert ours.tolist() == known.truth["proposers"]


@every_specification_epoch
def test_the_next_sync_committee_is_drawn_as_the_specification_does(name: str) -> None:
    known = specification_epoch(name)
    if known.truth["next_sync_committee"] is None:
        with pytest.raises(ChainRuleViolationError, match="first epoch of a period of 2 epochs"):
            next_sync_committee_indices(known.spec, known.state())
    else:
        ours = next_sync_committee_indices(known.spec, known.state())
        assert ours.tolist() == known.truth["next_sync_committee"]


@every_kept_state
def test_committees_are_those_the_node_answers(name: str, epoch: int) -> None:
    chain = recording(name)
    ours = committees_of_state(chain.spec, state_of(name, epoch), epoch)
    assert_same_committees(ours, chain.committees(epoch))


@pytest.mark.parametrize(("name", "epochs"), [("ssz", SSZ_EPOCHS), ("mainnet", MAINNET_EPOCHS)])
def test_one_late_state_knows_the_committees_of_all_epochs_before(name: str, epochs: range) -> None:
    chain, state = recording(name), state_of(name, epochs[-1])
    for epoch in epochs:
        assert_same_committees(
            committees_of_state(chain.spec, state, epoch), chain.committees(epoch)
        )


@pytest.mark.parametrize("epoch", MAINNET_EPOCHS[1:])
def test_the_state_before_knows_the_committees_already(epoch: int) -> None:
    chain = mainnet_devnet()
    ours = committees_of_state(chain.spec, state_of("mainnet", epoch - 1), epoch)
    assert_same_committees(ours, chain.committees(epoch))


@pytest.mark.parametrize("epoch", MAINNET_EPOCHS)
def test_proposers_are_those_the_node_answers(epoch: int) -> None:
    chain = mainnet_devnet()
    assert chain.spec.fork_at_epoch(2) is Fork.ELECTRA
    assert chain.spec.fork_at_epoch(3) is Fork.FULU
    ours = proposers_of_state(chain.spec, state_of("mainnet", epoch), epoch)
    assert ours.tolist() == chain.proposers(epoch)


@pytest.mark.parametrize("epoch", MAINNET_EPOCHS[3:])
def test_since_fulu_the_state_before_lists_the_proposers_and_they_are_those_drawn(
    epoch: int,
) -> None:
    chain, state = mainnet_devnet(), state_of("mainnet", epoch - 1)
    assert proposers_of_state(chain.spec, state, epoch).tolist() == chain.proposers(epoch)
    active = active_validators(state, epoch)
    drawn = proposers_by_seed(
        chain.spec,
        epoch,
        active,
        state.validators["effective_balance"][active].astype(np.int64),
        seed_of_state(chain.spec, state, epoch, DOMAIN_BEACON_PROPOSER),
    )
    assert drawn.tolist() == chain.proposers(epoch)


@pytest.mark.parametrize("epoch", SSZ_EPOCHS)
def test_proposers_of_the_older_recording_are_those_of_its_own_rules(epoch: int) -> None:
    """Its Electra is that of v1.5.0-alpha.8, which drew by one random byte, not by two."""
    chain, state = ssz_devnet(), state_of("ssz", epoch)
    if chain.spec.fork_at_epoch(epoch) < Fork.ELECTRA:
        ours = proposers_of_state(chain.spec, state, epoch)
    else:
        ours = drawn_by_one_byte(state, epoch)
    assert ours.tolist() == chain.proposers(epoch)


def drawn_by_one_byte(state: BeaconState, epoch: int) -> Int64Array:
    spec = ssz_devnet().spec
    active = active_validators(state, epoch)
    epoch_seed = seed_of_state(spec, state, epoch, DOMAIN_BEACON_PROPOSER)
    proposers = []
    for slot in range(spec.first_slot(epoch), spec.last_slot(epoch) + 1):
        seed = sha256(epoch_seed + slot.to_bytes(8, "little")).digest()
        candidates = shuffled(spec, active, seed).tolist()
        number = 0
        while True:
            index = candidates[number % len(candidates)]
            byte = sha256(seed + (number // 32).to_bytes(8, "little")).digest()[number % 32]
            balance = int(state.validators["effective_balance"][index])
            if balance * 255 >= spec.max_effective_balance_electra * byte:
                break
            number += 1
        proposers.append(index)
    return np.array(proposers)


@every_kept_state
def test_sync_committees_are_those_the_node_answers(name: str, epoch: int) -> None:
    chain = recording(name)
    ours = sync_committee_of_state(chain.spec, state_of(name, epoch), epoch)
    assert ours.tolist() == chain.sync_committee(epoch).tolist()


def test_a_state_lists_the_sync_committee_of_the_next_period_too() -> None:
    chain = ssz_devnet()
    assert chain.spec.epochs_per_sync_committee_period == 8
    ours = sync_committee_of_state(chain.spec, state_of("ssz", 3), 12)
    assert ours.tolist() == chain.sync_committee(12).tolist()
    # The genesis state has the same committee twice: the period after this one has another.
    state = state_of("ssz", 9)
    ahead = sync_committee_of_state(chain.spec, state, 16)
    assert state.validators["pubkey"][ahead].tolist() == state.next_sync_committee.tolist()
    assert ahead.tolist() != chain.sync_committee(9).tolist()
    for state_epoch, epoch in ((3, 16), (12, 7)):
        with pytest.raises(
            ChainRuleViolationError, match=f"not that of epoch {epoch}; use a state"
        ):
            sync_committee_of_state(chain.spec, state_of("ssz", state_epoch), epoch)


def test_a_seat_that_is_nobodys_is_refused() -> None:
    state = state_of("ssz", 3)
    seats = state.current_sync_committee.copy()
    seats[5] = 0xAB
    with pytest.raises(ChainRuleViolationError, match=r"key 0xabab.*none of its 128 validators"):
        sync_committee_of_state(ssz_devnet().spec, replace(state, current_sync_committee=seats), 3)


def test_epochs_whose_randomness_a_state_does_not_hold_are_refused() -> None:
    chain, state = mainnet_devnet(), state_of("mainnet", 4)
    committees_of_state(chain.spec, state, 5)
    with pytest.raises(ChainRuleViolationError, match=r"epochs 0…5, not that of epoch 6"):
        committees_of_state(chain.spec, state, 6)
    kept = len(state.randao_mixes)
    late = replace(state, slot=chain.spec.first_slot(kept + 10))
    # The mix of epoch 13 - 2 is the oldest of the ring: that of epoch 10 is the state's own by now.
    committees_of_state(chain.spec, late, 13)
    with pytest.raises(
        ChainRuleViolationError, match=rf"epochs 13…{kept + 11}, not that of epoch 12"
    ):
        committees_of_state(chain.spec, late, 12)


def test_states_whose_balances_do_not_decide_are_refused() -> None:
    chain = mainnet_devnet()
    before, since = state_of("mainnet", 2), state_of("mainnet", 5)
    for epoch in (1, 3):
        with pytest.raises(ChainRuleViolationError, match="before Fulu the proposers of epoch"):
            proposers_of_state(chain.spec, before, epoch)
    for epoch in (4, 7):
        with pytest.raises(
            ChainRuleViolationError, match=r"lists the proposers of epochs 5…6, not"
        ):
            proposers_of_state(chain.spec, since, epoch)


def test_a_lookahead_that_names_nobody_is_refused() -> None:
    state = state_of("mainnet", 5)
    assert state.proposer_lookahead is not None
    lookahead = state.proposer_lookahead.copy()
    lookahead[3] = 320
    with pytest.raises(ChainRuleViolationError, match="names validator 320, but there are 320"):
        proposers_of_state(mainnet_devnet().spec, replace(state, proposer_lookahead=lookahead), 5)


def test_lengths_follow_from_the_number_of_active_validators_alone() -> None:
    for count, per_slot in ((1, 1), (32 * 128 * 2 - 1, 1), (32 * 128 * 2, 2), (2**21, 64)):
        lengths = committee_lengths(MAINNET, count)
        assert (len(lengths), int(lengths.sum())) == (32 * per_slot, count)
        assert int(lengths.max() - lengths.min()) <= 1


def test_without_anybody_active_there_are_no_duties() -> None:
    nobody = np.empty(0, dtype=np.int64)
    spec = mainnet_devnet().spec
    with pytest.raises(ChainRuleViolationError, match="no validator is active in epoch 3"):
        committees_by_shuffling(spec, 3, nobody, bytes(32))
    with pytest.raises(ChainRuleViolationError, match="none of 0 active validators"):
        proposers_by_seed(spec, 3, nobody, nobody, bytes(32))


def test_the_lookahead_of_seeds_is_asked_for_and_never_assumed() -> None:
    spec = replace(mainnet_devnet().spec, min_seed_lookahead=None)
    with pytest.raises(ChainRuleViolationError, match="does not list MIN_SEED_LOOKAHEAD, without"):
        seed_of(spec, np.zeros((8, 32), np.uint8), 3, DOMAIN_BEACON_PROPOSER)
