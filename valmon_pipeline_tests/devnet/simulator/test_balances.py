"""Balances of simulated chains are explained to the gwei by what the node tells of them.

The identity of a validator between two epochs' first states: attestation deltas, blocks, and what
the transition moved. Everything is read over HTTP, and nothing comes from the simulation's
bookkeeping, except for the correlation penalty, which no endpoint tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from valmon_pipeline.devnet.simulator import Simulation, config, simulated_node
from valmon_pipeline.devnet.simulator.incidents import (
    AttesterSlashing,
    Consolidation,
    Deposit,
    ExitRequest,
    PartialWithdrawalRequest,
    ProposerSlashing,
    SkippedSlot,
    SwitchToCompounding,
    TopUp,
    VoluntaryExit,
)
from valmon_pipeline_tests.devnet.simulator.busy_chain import LAST_EPOCH, busy_chain

INCREMENT = 1_000_000_000


class Node:
    """The answers that the identity needs, decoded."""

    def __init__(self, client: httpx.Client, simulation: Simulation) -> None:
        self._client = client
        self.simulation = simulation
        texts = {name: str(value) for name, value in simulation.config.items()}
        self.spec = {name: int(text) for name, text in texts.items() if text.isdigit()}
        self.slots = self.spec["SLOTS_PER_EPOCH"]

    def get(self, path: str) -> Any:
        response = self._client.get(path)
        return response.json()["data"] if response.status_code == 200 else None

    def post(self, path: str) -> Any:
        response = self._client.post(path, json=[])
        return response.json()["data"] if response.status_code == 200 else None

    def balances(self, slot: int) -> dict[int, int]:
        rows = self.get(f"/eth/v1/beacon/states/{slot}/validator_balances")
        return {int(row["index"]): int(row["balance"]) for row in rows}

    def registry(self, slot: int) -> list[Any]:
        rows: list[Any] = self.get(f"/eth/v1/beacon/states/{slot}/validators")
        return rows

    def queue(self, slot: int, name: str) -> list[Any]:
        return self.get(f"/eth/v1/beacon/states/{slot}/{name}") or []

    def is_electra(self, slot: int) -> bool:
        electra: int = self.spec["ELECTRA_FORK_EPOCH"]
        return slot >= electra * self.slots


def explained_changes(node: Node, epoch: int) -> Counter[int]:
    """What should have happened to everybody's balance between the first states of ``epoch`` and
    of the next epoch."""
    changes: Counter[int] = Counter()
    start, end = epoch * node.slots, (epoch + 1) * node.slots
    if epoch > 0:
        rewards = node.post(f"/eth/v1/beacon/rewards/attestations/{epoch - 1}")
        for row in rewards["total_rewards"]:
            for name in ("source", "target", "head", "inactivity"):
                changes[int(row["validator_index"])] += int(row[name])
    for slot in range(start + 1, end + 1):
        add_block(node, slot, changes)
    add_transition(node, end, changes)
    return changes


def add_block(node: Node, slot: int, changes: Counter[int]) -> None:
    block = node.get(f"/eth/v2/beacon/blocks/{slot}")
    if block is None:
        return
    body = block["message"]["body"]
    for row in node.post(f"/eth/v1/beacon/rewards/sync_committee/{slot}"):
        changes[int(row["validator_index"])] += int(row["reward"])
    proposer = node.get(f"/eth/v1/beacon/rewards/blocks/{slot}")
    changes[int(proposer["proposer_index"])] += int(proposer["total"])
    for row in body["execution_payload"]["withdrawals"]:
        changes[int(row["validator_index"])] -= int(row["amount"])
    before = {int(row["index"]): row for row in node.registry(slot - 1)}
    keys = {row["validator"]["pubkey"]: index for index, row in before.items()}
    for index in slashed_in(body):
        if not before[index]["validator"]["slashed"]:
            quotient = node.spec[
                "MIN_SLASHING_PENALTY_QUOTIENT_"
                + ("ELECTRA" if node.is_electra(slot) else "BELLATRIX")
            ]
            changes[index] -= int(before[index]["validator"]["effective_balance"]) // quotient
    for deposit in body["deposits"]:
        data = deposit["data"]
        index = keys.setdefault(data["pubkey"], len(keys))
        changes[index] += int(data["amount"])
    for queued in new_deposits_without_request(node, slot):
        changes[keys[queued["pubkey"]]] -= int(queued["amount"])


def slashed_in(body: Any) -> set[int]:
    slashed = {
        int(slashing["signed_header_1"]["message"]["proposer_index"])
        for slashing in body["proposer_slashings"]
    }
    for slashing in body["attester_slashings"]:
        slashed |= set(map(int, slashing["attestation_1"]["attesting_indices"])) & set(
            map(int, slashing["attestation_2"]["attesting_indices"])
        )
    return slashed


def new_deposits_without_request(node: Node, slot: int) -> list[Any]:
    """What a switch to compounding in the block of ``slot`` put into the deposit queue."""
    if slot % node.slots == 0:
        # The transition changed the queue too; no switch is scripted there.
        return []
    before = node.queue(slot - 1, "pending_deposits")
    after = node.queue(slot, "pending_deposits")
    return [entry for entry in after[len(before) :] if entry["slot"] == "0"]


def add_transition(node: Node, end: int, changes: Counter[int]) -> None:
    """What the transition into the epoch that begins with ``end`` moved."""
    before = node.registry(end - 1)
    if end // node.slots == node.spec["ELECTRA_FORK_EPOCH"]:
        indices = {row["validator"]["pubkey"]: int(row["index"]) for row in node.registry(end)}
        for entry in node.queue(end, "pending_deposits"):
            if entry["slot"] == "0":
                changes[indices[entry["pubkey"]]] -= int(entry["amount"])
    if not node.is_electra(end - 1):
        return
    after = {row["validator"]["pubkey"]: int(row["index"]) for row in node.registry(end)}
    left = Counter(map(str, node.queue(end, "pending_deposits")))
    for entry in node.queue(end - 1, "pending_deposits"):
        if left[str(entry)]:
            left[str(entry)] -= 1
        else:
            changes[after[entry["pubkey"]]] += int(entry["amount"])
    moved = len(node.queue(end - 1, "pending_consolidations")) - len(
        node.queue(end, "pending_consolidations")
    )
    correlation = correlation_penalties(node, end, before)
    changes.subtract(correlation)
    for entry in node.queue(end - 1, "pending_consolidations")[: max(0, moved)]:
        source, target = int(entry["source_index"]), int(entry["target_index"])
        row = before[source]
        if not row["validator"]["slashed"]:
            # Nothing else that happens to an exited validator in a transition is scripted here.
            amount = min(int(row["balance"]), int(row["validator"]["effective_balance"]))
            changes[source] -= amount
            changes[target] += amount


def correlation_penalties(node: Node, end: int, before: list[Any]) -> Counter[int]:
    """The penalty of those who are halfway to withdrawability, from the slashings vector."""
    epoch, vector = end // node.slots - 1, node.spec["EPOCHS_PER_SLASHINGS_VECTOR"]
    active = sum(
        int(row["validator"]["effective_balance"])
        for row in before
        if int(row["validator"]["activation_epoch"]) <= epoch < int(row["validator"]["exit_epoch"])
    )
    vector_sum = int(node.simulation.record(end - 1).slashings.sum())
    adjusted = min(3 * vector_sum, active)
    penalties: Counter[int] = Counter()
    for row in before:
        validator = row["validator"]
        if validator["slashed"] and int(validator["withdrawable_epoch"]) == epoch + vector // 2:
            increments = int(validator["effective_balance"]) // INCREMENT
            penalties[int(row["index"])] = adjusted // (active // INCREMENT) * increments
    return penalties


def assert_balances_are_explained(node: Node, epochs: range) -> None:
    for epoch in epochs:
        opening = node.balances(epoch * node.slots)
        closing = node.balances((epoch + 1) * node.slots)
        changes = explained_changes(node, epoch)
        wrong = {
            index: (closing[index] - opening.get(index, 0), changes[index])
            for index in closing
            if closing[index] - opening.get(index, 0) != changes[index]
        }
        assert wrong == {}, f"epoch {epoch}"


@pytest.fixture(scope="module")
def busy_node() -> Iterator[Node]:
    simulation = busy_chain()
    with simulated_node(simulation) as server, httpx.Client(base_url=server.url) as client:
        yield Node(client, simulation)


def test_every_balance_is_explained_on_the_busy_chain(busy_node: Node) -> None:
    assert_balances_are_explained(busy_node, range(LAST_EPOCH - 1))


def test_the_busy_chain_moves_balances_in_every_way(busy_node: Node) -> None:
    """So that the test before this one means something."""
    blocks = [
        block for record in busy_node.simulation.history.records.values() if (block := record.block)
    ]
    assert any(block.withdrawals for block in blocks)
    assert any(block.initial_penalties for block in blocks)
    assert any(block.switched_excess for block in blocks)
    assert any(block.operations.deposits for block in blocks)
    assert any(block.operations.deposit_requests for block in blocks)
    halfway = [
        correlation_penalties(busy_node, end, busy_node.registry(end - 1))
        for end in range(8, 8 * LAST_EPOCH, 8)
    ]
    assert sum(len(penalties) for penalties in halfway) == 4


@pytest.mark.parametrize("preset", ["gnosis", "mainnet"])
def test_every_balance_is_explained_with_other_parameters(preset: str) -> None:
    spec = config(
        preset, SHARD_COMMITTEE_PERIOD=1, MIN_VALIDATOR_WITHDRAWABILITY_DELAY=1, fulu_epoch=3
    )
    slots = int(spec["SLOTS_PER_EPOCH"])
    incidents = (
        SkippedSlot(slots),
        ProposerSlashing(slots + 3, 7),
        AttesterSlashing(slots + 4, [8, 10, 12]),
        VoluntaryExit(slots + 5, 2),
        ExitRequest(slots + 5, 3),
        TopUp(5, 17, 5_000_000_000),
        Deposit(5),
        PartialWithdrawalRequest(slots * 4 + 3, 17, 1_000_000_000),
        SwitchToCompounding(slots * 2 + 1, 4),
        Consolidation(slots * 2 + 2, 5, 17),
    )
    simulation = Simulation(spec, 200, seed=5, incidents=incidents, miss_rate=0.05)
    simulation.advance_to_epoch(10)
    with simulated_node(simulation) as server, httpx.Client(base_url=server.url) as client:
        assert_balances_are_explained(Node(client, simulation), range(9))
