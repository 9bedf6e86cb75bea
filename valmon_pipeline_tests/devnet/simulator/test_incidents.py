"""What each incident does to the chain, and which scripts are refused."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.devnet.simulator import Genesis, Simulation, config
from valmon_pipeline.devnet.simulator import rewards as rules
from valmon_pipeline.devnet.simulator.incidents import (
    AttesterSlashing,
    Consolidation,
    CredentialChange,
    Deposit,
    Errors,
    ExitRequest,
    Incident,
    LateBlock,
    LateInclusion,
    Miss,
    MissProposal,
    MissSync,
    Offline,
    PartialWithdrawalRequest,
    ProposerSlashing,
    Reorg,
    SkippedSlot,
    SwitchToCompounding,
    Syncing,
    TopUp,
    VoluntaryExit,
    WrongHead,
)
from valmon_pipeline.errors import ConfigurationError

ETH = 1_000_000_000
SLOTS = 8


def play(*incidents: Incident, epochs: int = 8, validators: int | Genesis = 128) -> Simulation:
    simulation = Simulation(config("minimal"), validators, seed=4, incidents=incidents)
    simulation.advance_to_epoch(epochs)
    return simulation


def earned(simulation: Simulation, epoch: int, validators: Iterable[int]) -> set[tuple[bool, ...]]:
    """Which of source, target and head these validators were paid for in an epoch."""
    deltas = simulation.rewarded(epoch).deltas
    return {
        tuple(bool(column[index] > 0) for column in (deltas.source, deltas.target, deltas.head))
        for index in validators
    }


def attesters(simulation: Simulation, slot: int) -> list[int]:
    members: list[int] = simulation.record(slot).shuffling.of_slot(slot % SLOTS).tolist()
    return members


def test_without_incidents_everybody_earns_everything() -> None:
    simulation = play()
    for epoch in range(1, 6):
        assert earned(simulation, epoch, range(128)) == {(True, True, True)}
    assert all(simulation.block(slot) for slot in range(8 * SLOTS))
    assert simulation.finalized_epoch == 6


def test_a_miss_costs_source_and_target() -> None:
    simulation = play(Miss([7, 8], range(3, 5)))
    for epoch in (3, 4):
        deltas = simulation.rewarded(epoch).deltas
        assert (deltas.source[[7, 8]] < 0).all()
        assert (deltas.target[[7, 8]] < 0).all()
        assert (deltas.head[[7, 8]] == 0).all()
    assert earned(simulation, 2, [7, 8]) == earned(simulation, 5, [7, 8]) == {(True, True, True)}


def test_a_missed_sync_message_costs_the_seats_and_nothing_else() -> None:
    everybody = range(128)
    simulation = play(MissSync(everybody, range(2, 3)))
    for slot in range(2 * SLOTS, 3 * SLOTS):
        block = simulation.block(slot)
        assert block is not None
        assert not block.sync_bits.any()
        assert block.proposer_rewards.sync_aggregate == 0
        assert sum(block.sync_rewards().values()) == -32 * block.participant_reward
    assert earned(simulation, 2, everybody) == {(True, True, True)}


def test_who_does_not_propose_leaves_its_slots_empty() -> None:
    away = range(64)
    simulation = play(MissProposal(away, range(2, 4)))
    proposers = np.concatenate([simulation.proposers(2), simulation.proposers(3)])
    for slot, proposer in enumerate(proposers.tolist(), start=2 * SLOTS):
        assert (simulation.block(slot) is None) == (proposer in away)


def test_a_skipped_slot_costs_its_voters_no_target_but_their_head() -> None:
    simulation = play(SkippedSlot(27))
    assert simulation.block(27) is None
    # Votes of the slot before it are included two slots later: too late for the head.
    assert earned(simulation, 3, attesters(simulation, 26)) == {(True, True, False)}
    assert earned(simulation, 3, attesters(simulation, 27)) == {(True, True, True)}


def test_late_inclusion_costs_the_head_first_and_then_the_source() -> None:
    simulation = play(LateInclusion([1], range(3, 4), delay=2), LateInclusion([2], range(3, 4), 3))
    assert earned(simulation, 3, [1]) == {(True, True, False)}
    # The square root of eight slots is two.
    assert earned(simulation, 3, [2]) == {(False, True, False)}


def test_a_wrong_head_costs_the_head_alone() -> None:
    simulation = play(WrongHead(range(128), 27))
    assert earned(simulation, 3, attesters(simulation, 27)) == {(True, True, False)}
    assert earned(simulation, 3, attesters(simulation, 28)) == {(True, True, True)}


def test_a_late_block_is_voted_for_by_nobody_of_its_slot() -> None:
    simulation = play(LateBlock(27), LateBlock(40))
    assert earned(simulation, 3, attesters(simulation, 27)) == {(True, True, False)}
    # In the first slot of an epoch the block is the target as well.
    assert earned(simulation, 5, attesters(simulation, 40)) == {(True, False, False)}
    following = simulation.block(28)
    assert following is not None
    assert not following.sync_bits.any()


def test_a_third_offline_stops_finality_and_starts_the_leak() -> None:
    simulation = play(Offline(range(44), range(4, 14)), epochs=16)
    assert simulation.record(14 * SLOTS).finalized.epoch == 2
    leaking = [epoch for epoch in range(14) if simulation.rewarded(epoch).participation.leak]
    assert leaking == list(range(7, 14))
    assert simulation.rewarded(10).deltas.inactivity[:44].max() < 0
    assert simulation.rewarded(10).deltas.inactivity[44:].min() == 0
    assert earned(simulation, 10, range(44, 128)) == {(False, False, False)}
    scores = simulation.record(13 * SLOTS).column("inactivity_score")
    assert (scores[:44] > 0).all()
    assert (scores[44:] == 0).all()
    simulation.advance_to_epoch(20)
    assert simulation.finalized_epoch == 18
    assert (simulation.record(20 * SLOTS).column("inactivity_score") == 0).all()


def test_a_reorganization_loses_the_blocks_before_it() -> None:
    simulation = Simulation(config("minimal"), 128, seed=4, incidents=[Reorg(28, 2)])
    simulation.advance_to(27)
    lost = [simulation.block(26), simulation.block(27)]
    assert None not in lost
    parent = simulation.block(25)
    simulation.advance_to(28)
    assert simulation.block(26) is None
    assert simulation.block(27) is None
    block = simulation.block(28)
    assert block is not None
    assert parent is not None
    assert block.parent_root == parent.root
    assert {orphan.root for orphan in simulation.history.orphans.values()} == {
        known.root for known in lost if known is not None
    }
    # Those who voted for the lost blocks are included by the next one, with a wrong head.
    simulation.advance_to_epoch(8)
    for slot in (26, 27):
        assert earned(simulation, 3, attesters(simulation, slot)) == {(True, True, False)}
    assert earned(simulation, 3, attesters(simulation, 28)) == {(True, True, True)}


def test_a_reorganization_over_an_epoch_changes_who_proposes() -> None:
    simulation = Simulation(config("minimal"), 128, seed=4, incidents=[Reorg(33, 2)])
    simulation.advance_to(32)
    before = simulation.proposers(4)
    simulation.advance_to(33)
    assert not np.array_equal(before, simulation.proposers(4))
    simulation.advance_to_epoch(8)
    assert simulation.finalized_epoch == 6


def test_operations_of_lost_blocks_come_again() -> None:
    simulation = play(Reorg(60, 3), VoluntaryExit(58, 11), epochs=10)
    (happening,) = simulation.happenings
    assert happening.slot == 60
    assert simulation.record(60).column("exit_epoch")[11] != NEVER
    assert simulation.record(59).column("exit_epoch")[11] == NEVER


@pytest.mark.parametrize("electra_epoch", [0, None])
def test_votes_that_come_again_earn_nothing(electra_epoch: int | None) -> None:
    spec = config("minimal", electra_epoch=electra_epoch)
    chains = [Simulation(spec, 128, miss_rate=0.1, repeats=repeats) for repeats in (0, 2)]
    for simulation in chains:
        simulation.advance_to_epoch(5)
    plain, repeating = (
        [block for slot in range(3, 5 * SLOTS) if (block := simulation.block(slot))]
        for simulation in chains
    )
    assert np.array_equal(chains[0].balances(5 * SLOTS), chains[1].balances(5 * SLOTS))
    more = [
        len(b.attestations) - len(a.attestations) for a, b in zip(plain, repeating, strict=True)
    ]
    assert set(more) == {2}


def test_a_slashed_validator_pays_leaves_and_never_proposes_again() -> None:
    simulation = play(ProposerSlashing(20, 100), AttesterSlashing(21, [101, 102]), epochs=40)
    slashed = [100, 101, 102]
    record = simulation.record(SLOTS * 4)
    assert record.column("slashed")[slashed].all()
    assert (record.column("withdrawable_epoch")[slashed] == 2 + 64).all()
    block = simulation.block(20)
    assert block is not None
    assert block.initial_penalties == {100: 32 * ETH // 4096}
    assert block.proposer_rewards.proposer_slashings == 32 * ETH // 4096
    deltas = simulation.rewarded(20).deltas
    assert deltas.eligible[slashed].all()
    assert (deltas.target[slashed] < 0).all()
    # Three of 128 slashed, times three, of what is active then: 96 increments of 125.
    loss = simulation.balances(35 * SLOTS - 1)[100] - simulation.balances(35 * SLOTS)[100]
    assert loss > 32 * (288 * ETH // (125 * 32))
    for slot in range(20, 40 * SLOTS):
        known = simulation.block(slot)
        assert known is None or known.slot <= 21 or known.proposer_index not in slashed


def test_an_exit_ends_in_a_withdrawal_of_everything() -> None:
    simulation = play(VoluntaryExit(10, 10), ExitRequest(50, 11), VoluntaryExit(50, 16), epochs=30)
    first, second, without_address = simulation.happenings[0], *simulation.happenings[1:]
    assert first.slot == 4 * SLOTS  # when it has been active for long enough
    assert second.is_effective
    assert without_address.is_effective
    balances = simulation.balances(simulation.head_slot)
    assert balances[10] == balances[11] == 0
    assert balances[16] > 31 * ETH  # there is nowhere to withdraw it to


def test_a_deposit_makes_a_validator_and_a_top_up_grows_one() -> None:
    simulation = play(Deposit(20), TopUp(21, 9, 10 * ETH), Deposit(22, 5 * ETH, "bls"), epochs=16)
    record = simulation.record(simulation.head_slot)
    assert len(record) == 130
    assert record.column("pubkey")[128].tobytes() == simulation.deposit_key(0)
    assert NEVER > record.column("activation_epoch")[128] > 6
    assert record.column("activation_epoch")[129] == NEVER
    assert record.column("effective_balance")[9] == 42 * ETH
    queued = simulation.record(22).pending_deposits
    assert [deposit.amount for deposit in queued] == [32 * ETH, 10 * ETH, 5 * ETH]
    assert simulation.record(10 * SLOTS).pending_deposits == ()


def test_a_partial_withdrawal_is_paid_after_its_delay() -> None:
    genesis = Genesis.of(128)
    genesis.balance[9] = 50 * ETH
    simulation = play(PartialWithdrawalRequest(40, 9, 3 * ETH), epochs=20, validators=genesis)
    (entry,) = simulation.record(40).pending_partial_withdrawals
    assert (entry.validator_index, entry.amount) == (9, 3 * ETH)
    paid = [
        withdrawal
        for slot in range(41, 20 * SLOTS)
        if (block := simulation.block(slot)) is not None
        for withdrawal in block.withdrawals
        if withdrawal.validator_index == 9
    ]
    assert [withdrawal.amount for withdrawal in paid] == [3 * ETH]
    assert simulation.record(simulation.head_slot).column("effective_balance")[9] == 47 * ETH


def test_a_consolidation_moves_the_stake_when_the_source_is_withdrawable() -> None:
    simulation = play(Consolidation(40, 10, 9), epochs=24)
    assert simulation.happenings[0].is_effective
    record = simulation.record(simulation.head_slot)
    assert record.pending_consolidations == ()
    assert record.column("balance")[10] == 0
    assert record.column("effective_balance")[9] == 64 * ETH


def test_a_switch_to_compounding_sends_the_excess_through_the_queue() -> None:
    genesis = Genesis.of(128)
    genesis.balance[10] = 45 * ETH
    simulation = Simulation(
        config("minimal", MAX_VALIDATORS_PER_WITHDRAWALS_SWEEP=1),
        genesis,
        incidents=[SwitchToCompounding(6, 10)],
    )
    simulation.advance_to(6)
    block = simulation.block(6)
    assert block is not None
    excess = block.switched_excess[10]
    assert excess > 12 * ETH
    (deposit,) = simulation.record(6).pending_deposits
    assert (deposit.amount, deposit.slot) == (excess, 0)
    assert simulation.record(6).column("withdrawal_credentials")[10, 0] == 2
    assert simulation.record(5).column("withdrawal_credentials")[10, 0] == 1
    simulation.advance_to_epoch(4)
    assert simulation.record(4 * SLOTS).column("effective_balance")[10] == 45 * ETH


def test_a_credential_change_lets_the_sweep_reach_a_validator() -> None:
    simulation = play(CredentialChange(20, 8), epochs=10)
    record = simulation.record(simulation.head_slot)
    assert record.column("withdrawal_credentials")[8, 0] == 1
    withdrawn = {
        withdrawal.validator_index
        for slot in range(21, simulation.head_slot)
        if (block := simulation.block(slot)) is not None
        for withdrawal in block.withdrawals
    }
    assert 8 in withdrawn
    assert 0 not in withdrawn


def test_requests_without_effect_say_why() -> None:
    simulation = play(
        PartialWithdrawalRequest(40, 2, ETH),
        ExitRequest(40, 8),
        Consolidation(40, 10, 11),
        SwitchToCompounding(41, 9),
        ExitRequest(10, 12),
    )
    reasons = {str(known.incident): known.ignored for known in simulation.happenings}
    assert list(reasons.values()) == [
        "the validator has not been active for long enough",
        "only compounding validators withdraw on request",
        "the validator has no execution address",
        "the target is not compounding",
        "only validators with an execution address switch to compounding",
    ]


def test_on_a_small_mainnet_nobody_can_consolidate() -> None:
    spec = config("mainnet", SHARD_COMMITTEE_PERIOD=0)
    simulation = Simulation(spec, 128, incidents=[Consolidation(33, 10, 9)])
    simulation.advance_to(33)
    assert simulation.happenings[0].ignored == "the network is too small to consolidate"


def test_flags_follow_from_the_block_that_includes_a_vote() -> None:
    simulation = play(Miss([5], range(3, 4)))
    record = simulation.record(4 * SLOTS - 1)
    assert record.participation is not None
    current = record.participation[1]
    assert not rules.has_flag(current, rules.TIMELY_TARGET)[5]


@pytest.mark.parametrize(
    ("incident", "mistake"),
    [
        (Miss([128], range(1, 2)), "there is no validator 128"),
        (Miss([-1], range(1, 2)), "there is no validator -1"),
        (Miss([1], range(2, 2)), "are none"),
        (SkippedSlot(0), "slot 0 has happened"),
        (Reorg(5, 0), "a depth of 0"),
        (Reorg(3, 3), "its lost blocks begin in slot 0"),
        (Reorg(50, 9), "a depth of 9"),
        (LateInclusion([1], range(1, 2), 1), "a delay of 1"),
        (Deposit(5, 0), "an amount of 0 gwei"),
        (Deposit(5, ETH, "gold"), "credentials 'gold'"),
        (Consolidation(40, 9, 9), "that is SwitchToCompounding"),
        (ExitRequest(5, 1), "come with Electra"),
        (Errors(range(1, 2), rate=1.5), "the rate 1.5"),
        (Errors(range(1, 2), status=200), "status 200 is no error"),
        (Syncing(range(0)), "are none"),
        (Syncing(range(3, 4), 0), "a distance of 0 slots"),
    ],
)
def test_an_incident_that_cannot_be_played_is_refused(incident: Incident, mistake: str) -> None:
    with pytest.raises(ConfigurationError, match=mistake):
        Simulation(config("minimal", electra_epoch=2), 128, incidents=[incident])


def test_all_mistakes_of_a_script_are_told_at_once() -> None:
    script = [SkippedSlot(9), LateBlock(9), Reorg(20, 2), Reorg(21, 2), Miss([999], range(1, 2))]
    with pytest.raises(ConfigurationError) as refused:
        Simulation(config("minimal"), 128, incidents=script)
    for mistake in ("slot 9 is skipped", "it overlaps with", "no validator 999"):
        assert mistake in str(refused.value)


def test_incidents_that_have_happened_cannot_be_added() -> None:
    simulation = play(epochs=2)
    with pytest.raises(ConfigurationError, match="slot 16 has happened; it must be after 16"):
        simulation.add(SkippedSlot(16))
    assert simulation.script.incidents == []


def test_history_can_be_bounded() -> None:
    bounded = Simulation(config("minimal"), 64, seed=1, history_epochs=4)
    whole = Simulation(config("minimal"), 64, seed=1)
    for simulation in (bounded, whole):
        simulation.advance_to_epoch(12)
    assert min(bounded.history.records) == 8 * SLOTS
    assert min(bounded.history.rewarded) == 8
    assert len(bounded.events) < len(whole.events)
    assert bounded.events_since(0)[1] == whole.events_since(0)[1]
    assert np.array_equal(bounded.balances(96), whole.balances(96))
    with pytest.raises(KeyError):
        bounded.record(10)


def test_a_chain_outlives_the_state_that_it_finalized_last() -> None:
    dark = Offline(range(40), range(4, 16))
    simulation = Simulation(config("minimal"), 64, incidents=[dark], history_epochs=4)
    simulation.advance_to_epoch(16)
    assert simulation.finalized_epoch == 2
    assert min(simulation.history.records) == 12 * SLOTS
    simulation.advance_to_epoch(20)
    assert simulation.finalized_epoch == 18
