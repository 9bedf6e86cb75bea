"""How long exits, deposits and consolidations take, worked out by hand.

128 validators of 32 ETH: 4,096 ETH are active. Of them 1/32, 128 ETH, may move per epoch: 64 ETH of
exits (the cap), the same of deposits, and the other 64 ETH of consolidations.
"""

from __future__ import annotations

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.devnet.simulator import Genesis, Simulation, config
from valmon_pipeline.devnet.simulator.incidents import (
    Consolidation,
    Deposit,
    Incident,
    PartialWithdrawalRequest,
    TopUp,
    VoluntaryExit,
)

ETH = 1_000_000_000
SLOTS = 8


def play(
    *incidents: Incident,
    epochs: int,
    electra_epoch: int = 0,
    genesis: Genesis | None = None,
    **values: int,
) -> Simulation:
    spec = config("minimal", electra_epoch=electra_epoch, **values)
    simulation = Simulation(spec, genesis or Genesis.of(128), incidents=incidents)
    simulation.advance_to_epoch(epochs)
    return simulation


def exit_epochs(simulation: Simulation, validators: list[int]) -> list[int]:
    column = simulation.record(simulation.head_slot).column("exit_epoch")
    return [int(column[index]) for index in validators]


def first_slot_with_balance(simulation: Simulation, index: int, amount: int) -> int:
    return next(
        slot
        for slot in range(simulation.head_slot + 1)
        if len(balances := simulation.balances(slot)) > index and balances[index] >= amount
    )


def test_two_validators_leave_per_epoch() -> None:
    leaving = [10, 11, 12, 13, 14]
    simulation = play(*(VoluntaryExit(41, index) for index in leaving), epochs=6)
    assert exit_epochs(simulation, leaving) == [10, 10, 11, 11, 12]


def test_what_an_epoch_leaves_over_counts_for_the_same_exit_epoch_only() -> None:
    simulation = play(VoluntaryExit(41, 10), VoluntaryExit(49, 11), VoluntaryExit(57, 12), epochs=8)
    assert exit_epochs(simulation, [10, 11, 12]) == [10, 11, 12]


def test_partial_withdrawals_take_from_the_churn_of_exits() -> None:
    genesis = Genesis.of(128)
    genesis.balance[9] = 132 * ETH
    simulation = play(
        PartialWithdrawalRequest(41, 9, 90 * ETH),
        VoluntaryExit(42, 10),
        VoluntaryExit(42, 11),
        epochs=6,
        genesis=genesis,
    )
    (entry,) = simulation.record(41).pending_partial_withdrawals
    # 90 of the 128 ETH of epochs 10 and 11; the 38 that are left are room for one more.
    assert entry.withdrawable_epoch == 11 + 4
    assert exit_epochs(simulation, [10, 11]) == [11, 12]


def test_before_electra_four_validators_leave_per_epoch() -> None:
    leaving = [10, 11, 12, 13, 14]
    simulation = play(*(VoluntaryExit(41, index) for index in leaving), epochs=6, electra_epoch=99)
    assert exit_epochs(simulation, leaving) == [10, 10, 10, 10, 11]


def test_two_consolidations_leave_per_epoch() -> None:
    sources = [10, 11, 12]
    simulation = play(*(Consolidation(41, index, 9) for index in sources), epochs=6)
    assert exit_epochs(simulation, sources) == [10, 10, 11]


def test_a_deposit_waits_until_its_slot_is_final() -> None:
    early, late = Deposit(40), Deposit(41)
    simulation = play(early, late, epochs=10)
    # Epoch 5 begins with slot 40 and is finalized at the end of epoch 6, epoch 6 one later.
    assert first_slot_with_balance(simulation, 128, 32 * ETH) == 7 * SLOTS
    assert first_slot_with_balance(simulation, 129, 32 * ETH) == 8 * SLOTS


def test_deposits_of_64_ether_are_applied_per_epoch() -> None:
    simulation = play(*(Deposit(41) for _ in range(4)), Deposit(42), epochs=12)
    applied = [first_slot_with_balance(simulation, index, 32 * ETH) for index in range(128, 133)]
    assert applied == [64, 64, 72, 72, 80]


def test_a_large_deposit_saves_up_the_churn_of_several_epochs() -> None:
    simulation = play(TopUp(41, 9, 150 * ETH), epochs=12)
    # 64 and 128 ETH are not enough, 192 are.
    assert first_slot_with_balance(simulation, 9, 182 * ETH) == 80


def test_a_deposit_for_somebody_leaving_waits_until_it_has_left() -> None:
    simulation = play(VoluntaryExit(41, 16), TopUp(42, 16, 5 * ETH), epochs=18)
    withdrawable = 10 + 4
    # BLS credentials: nothing is withdrawn. It is applied in the transition after that epoch began.
    assert first_slot_with_balance(simulation, 16, 36 * ETH) == (withdrawable + 1) * SLOTS


def test_a_new_validator_is_active_five_epochs_after_its_eligibility_is_final() -> None:
    simulation = play(Deposit(41), epochs=18)
    record = simulation.record(simulation.head_slot)
    # In the registry from epoch 8, eligible in 9 (seen at the end of 8), which is final at the end
    # of epoch 10.
    assert record.column("activation_eligibility_epoch")[128] == 9
    assert record.column("activation_epoch")[128] == 15
    assert 128 not in simulation.record(14 * SLOTS).shuffling.members
    assert 128 in simulation.record(15 * SLOTS).shuffling.members


def test_before_electra_four_new_validators_become_active_per_epoch() -> None:
    simulation = play(*(Deposit(9) for _ in range(6)), epochs=12, electra_epoch=99)
    record = simulation.record(simulation.head_slot)
    activation = record.column("activation_epoch")[128:134].tolist()
    assert activation[:4] == [activation[0]] * 4
    assert activation[4:] == [activation[0] + 1] * 2
    assert first_slot_with_balance(simulation, 133, 32 * ETH) == 9


def test_stake_that_is_not_active_at_electra_comes_back_through_the_queue() -> None:
    simulation = play(*(Deposit(29) for _ in range(3)), epochs=12, electra_epoch=4)
    before, after = simulation.record(4 * SLOTS - 1), simulation.record(4 * SLOTS)
    new = [128, 129, 130]
    assert before.column("balance")[new].tolist() == [32 * ETH] * 3
    assert after.column("balance")[new].tolist() == [0] * 3
    assert after.column("effective_balance")[new].tolist() == [0] * 3
    assert (after.column("activation_eligibility_epoch")[new] == NEVER).all()
    queued = [entry for entry in after.pending_deposits if entry.amount == 32 * ETH]
    assert [entry.slot for entry in queued] == [0] * 3
    # It stands before the excess of compounding validators and moves at 64 ETH per epoch.
    assert after.pending_deposits[:3] == tuple(queued)
    assert [first_slot_with_balance_after(simulation, index, 32) for index in new] == [40, 40, 48]


def first_slot_with_balance_after(simulation: Simulation, index: int, start: int) -> int:
    return next(
        slot
        for slot in range(start, simulation.head_slot + 1)
        if simulation.balances(slot)[index] > 0
    )


def test_somebody_whose_stake_falls_to_half_is_ejected() -> None:
    genesis = Genesis.of(128)
    genesis.balance[10] = 16 * ETH
    simulation = play(epochs=2, genesis=genesis)
    assert exit_epochs(simulation, [10, 11]) == [5, NEVER]
