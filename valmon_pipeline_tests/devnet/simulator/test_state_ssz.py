"""The whole state in SSZ: laid out like a real node's, and equal to what the node tells in JSON.

The offsets are those measured on the states of a real node of the minimal preset (Lodestar).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import numpy as np
import pytest

from valmon_pipeline.devnet.simulator import Simulation, config, simulated_node
from valmon_pipeline.devnet.simulator.incidents import (
    Consolidation,
    Deposit,
    Offline,
    PartialWithdrawalRequest,
    ProposerSlashing,
)

FAR = 2**64 - 1
LISTS = {
    "historical_roots": 4272,
    "eth1_data_votes": 4348,
    "validators": 4360,
    "balances": 4364,
    "previous_participation": 6928,
    "current_participation": 6932,
    "inactivity_scores": 7057,
    "payload_header": 10229,
    "historical_summaries": 10249,
}
ELECTRA_LISTS = {
    "pending_deposits": 10301,
    "pending_partial_withdrawals": 10305,
    "pending_consolidations": 10309,
}
FIXED_SIZE = {"deneb": 10253, "electra": 10313, "fulu": 10313 + 8 * 16}


@cache
def chain() -> Simulation:
    simulation = Simulation(
        config("minimal", electra_epoch=2, fulu_epoch=7),
        128,
        seed=9,
        incidents=[
            ProposerSlashing(30, 100),
            Offline(range(50), range(3, 10)),
            Deposit(38),
            Consolidation(41, 10, 9),
            PartialWithdrawalRequest(43, 9, 1),
        ],
    )
    simulation.advance_to_epoch(10)
    return simulation


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with simulated_node(chain()) as node, httpx.Client(base_url=node.url) as client:
        yield client


class WholeState:
    """A state cut up by hand."""

    def __init__(self, client: httpx.Client, slot: int) -> None:
        response = client.get(
            f"/eth/v2/debug/beacon/states/{slot}",
            headers={"accept": "application/octet-stream;q=1,application/json;q=0.9"},
        )
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/octet-stream"
        self.version = response.headers["eth-consensus-version"]
        self.content = response.content
        places = dict(LISTS) if self.version == "deneb" else {**LISTS, **ELECTRA_LISTS}
        starts = {
            name: struct.unpack_from("<I", self.content, at)[0] for name, at in places.items()
        }
        ends = [*list(starts.values())[1:], len(self.content)]
        self.lists = {
            name: self.content[start:end]
            for (name, start), end in zip(starts.items(), ends, strict=True)
        }
        assert starts["historical_roots"] == FIXED_SIZE[self.version]

    def numbers(self, at: int, count: int) -> list[int]:
        return list(struct.unpack_from(f"<{count}Q", self.content, at))

    def root(self, at: int) -> str:
        return "0x" + self.content[at : at + 32].hex()


SLOTS = {"deneb": 8, "electra": 48, "fulu": 64, "last of an epoch": 47}


@pytest.mark.parametrize("slot", SLOTS.values(), ids=SLOTS.keys())
def test_validators_and_balances_are_those_of_the_json(client: httpx.Client, slot: int) -> None:
    state = WholeState(client, slot)
    rows = client.get(f"/eth/v1/beacon/states/{slot}/validators").json()["data"]
    assert len(state.lists["validators"]) == 121 * len(rows)
    for number, row in enumerate(rows):
        record = state.lists["validators"][121 * number : 121 * (number + 1)]
        known = row["validator"]
        effective, slashed, *epochs = struct.unpack_from("<Q?4Q", record, 80)
        assert "0x" + record[:48].hex() == known["pubkey"]
        assert "0x" + record[48:80].hex() == known["withdrawal_credentials"]
        assert [effective, *epochs] == [
            int(known[name])
            for name in (
                "effective_balance",
                "activation_eligibility_epoch",
                "activation_epoch",
                "exit_epoch",
                "withdrawable_epoch",
            )
        ]
        assert slashed == known["slashed"]
    balances = np.frombuffer(state.lists["balances"], "<u8").tolist()
    assert balances == [int(row["balance"]) for row in rows]


@pytest.mark.parametrize("slot", SLOTS.values(), ids=SLOTS.keys())
def test_chain_and_finality_are_those_of_the_json(client: httpx.Client, slot: int) -> None:
    def ask(path: str) -> Any:
        return client.get(path).json()["data"]

    state = WholeState(client, slot)
    genesis = ask("/eth/v1/beacon/genesis")
    assert state.numbers(0, 1) == [int(genesis["genesis_time"])]
    assert state.root(8) == genesis["genesis_validators_root"]
    assert state.numbers(40, 1) == [slot]
    fork = ask(f"/eth/v1/beacon/states/{slot}/fork")
    assert "0x" + state.content[48:52].hex() == fork["previous_version"]
    assert "0x" + state.content[52:56].hex() == fork["current_version"]
    assert state.numbers(56, 1) == [int(fork["epoch"])]
    newest = next(known for known in range(slot, 0, -1) if chain().block(known))
    header = ask(f"/eth/v1/beacon/headers/{newest}")["header"]["message"]
    assert state.numbers(64, 2) == [newest, int(header["proposer_index"])]
    assert state.root(80) == header["parent_root"]
    # The root of the state itself is written into the header by the slot after.
    assert state.root(112) == ("0x" + "00" * 32 if newest == slot else header["state_root"])
    for earlier in range(slot - 7, slot):
        root = ask(f"/eth/v1/beacon/headers/{earlier}") if chain().block(earlier) else None
        if root is not None:
            assert state.root(176 + 32 * (earlier % 64)) == root["root"]
        assert (
            state.root(2224 + 32 * (earlier % 64))
            == ask(f"/eth/v1/beacon/states/{earlier}/root")["root"]
        )
    checkpoints = ask(f"/eth/v1/beacon/states/{slot}/finality_checkpoints")
    for name, at in (
        ("previous_justified", 6937),
        ("current_justified", 6977),
        ("finalized", 7017),
    ):
        assert state.numbers(at, 1) == [int(checkpoints[name]["epoch"])]
        assert state.root(at + 8) == checkpoints[name]["root"]
    seats = ask(f"/eth/v1/beacon/states/{slot}/sync_committees")["validators"]
    keys = chain().record(slot).column("pubkey")
    for number, index in enumerate(seats):
        assert state.content[7061 + 48 * number :][:48] == keys[int(index)].tobytes()


def test_participation_scores_and_slashings_are_those_of_the_chain(client: httpx.Client) -> None:
    state, record = WholeState(client, 48), chain().record(48)
    assert record.participation is not None
    assert state.lists["previous_participation"] == record.participation[0].tobytes()
    assert state.lists["current_participation"] == record.participation[1].tobytes()
    assert {0, 7} <= set(state.lists["previous_participation"])
    scores = np.frombuffer(state.lists["inactivity_scores"], "<u8")
    assert scores.tolist() == record.column("inactivity_score").tolist()
    assert sum(state.numbers(6416, 64)) == 32_000_000_000


def test_the_queues_are_those_of_the_json(client: httpx.Client) -> None:
    state = WholeState(client, 48)
    path = "/eth/v1/beacon/states/48"
    deposits = client.get(f"{path}/pending_deposits").json()["data"]
    assert len(state.lists["pending_deposits"]) == 192 * len(deposits) > 0
    for number, known in enumerate(deposits):
        entry = state.lists["pending_deposits"][192 * number :]
        assert "0x" + entry[:48].hex() == known["pubkey"]
        assert "0x" + entry[48:80].hex() == known["withdrawal_credentials"]
        assert struct.unpack_from("<Q", entry, 80) == (int(known["amount"]),)
        assert "0x" + entry[88:184].hex() == known["signature"]
        assert struct.unpack_from("<Q", entry, 184) == (int(known["slot"]),)
    for name in ("pending_partial_withdrawals", "pending_consolidations"):
        rows = client.get(f"{path}/{name}").json()["data"]
        found = np.frombuffer(state.lists[name], "<u8").tolist()
        assert found == [int(value) for row in rows for value in row.values()] != []


def test_the_proposers_ahead_are_in_the_states_of_fulu(client: httpx.Client) -> None:
    state = WholeState(client, 64)
    lookahead = client.get("/eth/v1/beacon/states/64/proposer_lookahead").json()["data"]
    assert state.numbers(10313, 16) == list(map(int, lookahead))


def test_requests_start_where_the_bridge_ends(client: httpx.Client) -> None:
    assert WholeState(client, 16).numbers(10253, 1) == [FAR]
    assert WholeState(client, 48).numbers(10253, 1) == [128]


def test_states_within_an_epoch_and_other_formats_are_refused(client: httpx.Client) -> None:
    path = "/eth/v2/debug/beacon/states"
    ssz = {"accept": "application/octet-stream"}
    assert client.get(f"{path}/42", headers=ssz).status_code == 404
    assert client.get(f"{path}/9999", headers=ssz).status_code == 404
    assert client.get(f"{path}/48").status_code == 406
    assert client.get(f"{path}/48", headers=ssz).status_code == 200


def test_the_mainnet_layout_is_larger() -> None:
    simulation = Simulation(config("mainnet"), 64)
    simulation.advance_to(32)
    with simulated_node(simulation) as node, httpx.Client(base_url=node.url) as client:
        content = client.get(
            "/eth/v2/debug/beacon/states/32", headers={"accept": "application/octet-stream"}
        ).content
    # The first list's offset is the size of the fixed part; the vectors before it have 8192 roots.
    first = 176 + 2 * 32 * 8192
    (fixed_size,) = struct.unpack_from("<I", content, first)
    vectors = 65536 * 32 + 8192 * 8 + 2 * (512 * 48 + 48)
    minimal_vectors = 64 * 32 + 64 * 8 + 2 * (32 * 48 + 48)
    assert fixed_size == first + FIXED_SIZE["electra"] - 4272 + vectors - minimal_vectors
