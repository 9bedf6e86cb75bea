"""The simulator's rules on the recorded devnet's blocks: the real client's balances to the gwei.

The one rule that differs is known: the recorded client moves the whole balance of a compounding
validator that is consolidated, the final specification at most its effective balance.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from valmon_pipeline.devnet.simulator import rewards
from valmon_pipeline_tests.devnet.simulator.recorded_replay import (
    RecordedChain,
    ReplayedSlot,
    recorded,
)

CONSOLIDATED_AT, SOURCE, TARGET = 168, 25, 33
REGISTRY = (
    "effective_balance",
    "slashed",
    "activation_eligibility_epoch",
    "activation_epoch",
    "exit_epoch",
    "withdrawable_epoch",
    "pubkey",
    "withdrawal_credentials",
)


def replay(compare: Callable[[ReplayedSlot], None]) -> int:
    """Run through the recording, comparing every slot; the number of slots."""
    count = 0
    for replayed in RecordedChain().slots():
        if replayed.slot == CONSOLIDATED_AT:
            validators = replayed.state.validators
            rest = int(validators.balance[SOURCE]) - recorded().balances(CONSOLIDATED_AT)[SOURCE]
            assert 0 < rest < 1_000_000_000
            validators.balance[SOURCE] -= rest
            validators.balance[TARGET] += rest
        compare(replayed)
        count += 1
    return count


def test_balances_finality_and_registries_are_those_of_the_real_client() -> None:
    def compare(replayed: ReplayedSlot) -> None:
        slot, state = replayed.slot, replayed.state
        assert state.validators.balance.tolist() == recorded().balances(slot), slot
        checkpoints = recorded().checkpoints(slot)
        assert checkpoints["previous_justified"] == state.previous_justified
        assert checkpoints["current_justified"] == state.current_justified
        assert checkpoints["finalized"] == state.finalized
        if slot % recorded().parameters.slots_per_epoch == 0:
            registry = recorded().registry(slot)
            for column in REGISTRY:
                ours, theirs = getattr(state.validators, column), getattr(registry, column)
                assert np.array_equal(ours, theirs), (slot, column)

    assert replay(compare) == 335


def test_blocks_pay_and_withdraw_what_the_real_client_says() -> None:
    paid: list[int] = []

    def compare(replayed: ReplayedSlot) -> None:
        slot, effects = replayed.slot, replayed.effects
        if effects is None:
            assert recorded().block(slot) is None
            return
        ours = effects.proposer_rewards()
        theirs = recorded().get(f"/eth/v1/beacon/rewards/blocks/{slot}")
        for name in (
            "attestations",
            "sync_aggregate",
            "proposer_slashings",
            "attester_slashings",
            "total",
        ):
            assert getattr(ours, name) == int(theirs[name]), (slot, name)
        for row in recorded().post_everybody(f"/eth/v1/beacon/rewards/sync_committee/{slot}"):
            assert abs(int(row["reward"])) % effects.participant_reward == 0
        payload = recorded().block(slot)["message"]["body"]["execution_payload"]
        assert [
            (known.index, known.validator_index, known.address, known.amount)
            for known in effects.withdrawals
        ] == [
            (
                int(row["index"]),
                int(row["validator_index"]),
                row["address"].lower(),
                int(row["amount"]),
            )
            for row in payload["withdrawals"]
        ]
        paid.append(ours.total)

    replay(compare)
    assert len(paid) > 280


def test_attestation_rewards_are_those_of_the_real_client() -> None:
    epochs: list[int] = []

    def compare(replayed: ReplayedSlot) -> None:
        # The rewards of the first epoch come from votes that were not all recorded.
        if replayed.rewarded is None or replayed.rewarded.epoch < 1:
            return
        rewarded = replayed.rewarded
        theirs = recorded().post_everybody(f"/eth/v1/beacon/rewards/attestations/{rewarded.epoch}")
        deltas = rewarded.deltas
        reported = {int(row["validator_index"]): row for row in theirs["total_rewards"]}
        assert set(np.flatnonzero(deltas.eligible).tolist()) == set(reported)
        for name in ("source", "target", "head", "inactivity"):
            column = getattr(deltas, name)
            assert {index: int(row[name]) for index, row in reported.items()} == {
                index: int(column[index]) for index in reported
            }, (rewarded.epoch, name)
        ideal = theirs["ideal_rewards"]
        balances = np.array([int(row["effective_balance"]) for row in ideal], np.int64)
        for flag, name in enumerate(("source", "target", "head")):
            ours = rewards.flag_reward(
                recorded().parameters, rewarded.participation, balances, flag
            )
            assert ours.tolist() == [int(row[name]) for row in ideal], (rewarded.epoch, name)
        epochs.append(rewarded.epoch)

    replay(compare)
    assert epochs == list(range(1, 42))
