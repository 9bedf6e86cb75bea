"""The simulated node's answers have the form of the recorded ones, endpoint by endpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.devnet.simulator import Simulation, config, simulated_node
from valmon_pipeline.devnet.simulator.incidents import (
    AttesterSlashing,
    Consolidation,
    CredentialChange,
    Deposit,
    ExitRequest,
    ProposerSlashing,
    SkippedSlot,
    VoluntaryExit,
)

# Where things are on the recorded chain, and on the simulated one.
RECORDED = {
    "deneb": "20",
    "electra": "60",
    "missed": "10",
    "first": "200",
    "epoch": "25",
    "proposer_slashing": "59",
    "attester_slashing": "67",
    "exit": "50",
    "change": "83",
    "deposit": "43",
    "withdrawal": "78",
    "consolidation": "99",
}
SIMULATED = {
    "deneb": "20",
    "electra": "60",
    "missed": "10",
    "first": "64",
    "epoch": "8",
    "proposer_slashing": "59",
    "attester_slashing": "61",
    "exit": "50",
    "change": "51",
    "deposit": "43",
    "withdrawal": "52",
    "consolidation": "53",
}
STATE = "/eth/v1/beacon/states"
VALIDATOR = "/eth/v1/validator"

GETS = [
    "/eth/v1/beacon/genesis",
    "/eth/v1/config/deposit_contract",
    "/eth/v1/node/version",
    "/eth/v1/node/syncing",
    "/eth/v1/node/health",
    "/eth/v1/node/peer_count",
    "/eth/v1/node/peers",
    "/eth/v1/nosuch/endpoint",
    f"{STATE}/{{first}}/validators",
    f"{STATE}/{{first}}/validators?id=3&id=5",
    f"{STATE}/{{first}}/validators?id=3,5",
    f"{STATE}/{{first}}/validators?status=active_ongoing",
    f"{STATE}/head/validators/5",
    f"{STATE}/head/validators/99999",
    f"{STATE}/{{first}}/validator_balances",
    f"{STATE}/99999999/validators",
    f"{STATE}/abc/validators",
    f"{STATE}/{{first}}/committees?epoch={{epoch}}",
    f"{STATE}/{{first}}/committees?epoch=999",
    f"{STATE}/{{first}}/sync_committees?epoch={{epoch}}",
    f"{STATE}/{{first}}/sync_committees?epoch=999",
    f"{STATE}/{{first}}/finality_checkpoints",
    f"{STATE}/head/finality_checkpoints",
    f"{STATE}/finalized/finality_checkpoints",
    f"{STATE}/{{first}}/fork",
    f"{STATE}/{{first}}/root",
    f"{STATE}/{{first}}/randao",
    "/eth/v1/beacon/headers?slot={electra}",
    "/eth/v1/beacon/headers/{electra}",
    "/eth/v1/beacon/headers/{missed}",
    "/eth/v1/beacon/headers/genesis",
    "/eth/v1/beacon/headers/head",
    "/eth/v1/beacon/headers/finalized",
    "/eth/v1/beacon/headers/abc",
    f"/eth/v1/beacon/headers/0x{'12' * 32}",
    "/eth/v1/beacon/blocks/{electra}/root",
    "/eth/v1/beacon/blinded_blocks/{electra}",
    "/eth/v1/beacon/blinded_blocks/{missed}",
    "/eth/v2/beacon/blocks/genesis",
    "/eth/v2/beacon/blocks/{deneb}",
    "/eth/v2/beacon/blocks/{electra}",
    "/eth/v2/beacon/blocks/{missed}",
    "/eth/v2/beacon/blocks/{proposer_slashing}",
    "/eth/v2/beacon/blocks/{attester_slashing}",
    "/eth/v2/beacon/blocks/{exit}",
    "/eth/v2/beacon/blocks/{change}",
    "/eth/v2/beacon/blocks/{deposit}",
    "/eth/v2/beacon/blocks/{withdrawal}",
    "/eth/v2/beacon/blocks/{consolidation}",
    "/eth/v2/beacon/blocks/abc",
    "/eth/v2/beacon/blocks/{deneb}/attestations",
    "/eth/v2/beacon/blocks/{electra}/attestations",
    "/eth/v2/beacon/blocks/{missed}/attestations",
    "/eth/v1/beacon/blocks/{deneb}/attestations",
    "/eth/v1/beacon/blocks/{electra}/attestations",
    "/eth/v1/beacon/rewards/blocks/{electra}",
    "/eth/v1/beacon/rewards/blocks/{missed}",
    f"{VALIDATOR}/duties/proposer/{{epoch}}",
    f"{VALIDATOR}/duties/proposer/999",
    f"{VALIDATOR}/duties/proposer/-1",
    f"{VALIDATOR}/duties/proposer/abc",
    "/eth/v2/validator/duties/proposer/{epoch}",
    "/eth/v1/events?topics=nosuch",
    "/eth/v1/events",
]
POSTS: list[tuple[str, object]] = [
    (f"{STATE}/{{first}}/validators", {"ids": ["0", "5"], "statuses": ["active_ongoing"]}),
    (f"{STATE}/{{first}}/validator_balances", ["0", "5"]),
    (f"{STATE}/{{first}}/validator_identities", ["0", "5"]),
    ("/eth/v1/beacon/rewards/attestations/{epoch}", []),
    ("/eth/v1/beacon/rewards/attestations/{epoch}", ["0", "1", "120"]),
    ("/eth/v1/beacon/rewards/attestations/-1", ["0"]),
    ("/eth/v1/beacon/rewards/sync_committee/{electra}", []),
    ("/eth/v1/beacon/rewards/sync_committee/{missed}", []),
    (f"{VALIDATOR}/duties/attester/{{epoch}}", ["0", "5"]),
    (f"{VALIDATOR}/duties/attester/{{epoch}}", []),
    (f"{VALIDATOR}/duties/attester/999", ["0"]),
    (f"{VALIDATOR}/duties/sync/{{epoch}}", [str(index) for index in range(128)]),
    (f"{VALIDATOR}/duties/sync/{{epoch}}", []),
]
# What the recorded client lists that belongs to no computed chain, or leaves empty.
UNLIKE = {"transactions": "simulated payloads have none", "blob_kzg_commitments": "no blobs"}


@dataclass(frozen=True, slots=True)
class Sides:
    """Both nodes, and where things are on each chain."""

    recorded: httpx.Client
    simulated: httpx.Client

    def ask(self, method: str, path: str, body: object = None) -> tuple[httpx.Response, ...]:
        content = None if body is None else json.dumps(body)
        headers = {} if body is None else {"content-type": "application/json"}
        return tuple(
            client.request(method, path.format(**places), content=content, headers=headers)
            for client, places in ((self.recorded, RECORDED), (self.simulated, SIMULATED))
        )


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    simulation = Simulation(
        config("minimal", electra_epoch=4),
        128,
        seed=2,
        incidents=[
            SkippedSlot(10),
            Deposit(43),
            VoluntaryExit(50, 10),
            CredentialChange(51, 8),
            ExitRequest(52, 17),
            Consolidation(53, 25, 33),
            ProposerSlashing(59, 100),
            AttesterSlashing(61, [121, 122]),
        ],
    )
    simulation.advance_to_epoch(12)
    with (
        BackgroundReplayNode(ReplayNode()) as recorded,
        simulated_node(simulation) as simulated,
        httpx.Client(base_url=recorded.url) as recorded_client,
        httpx.Client(base_url=simulated.url) as simulated_client,
    ):
        yield Sides(recorded_client, simulated_client)


def form(value: Any) -> Any:
    """What a value looks like: keys, kinds of text, lengths of hexadecimal text."""
    if isinstance(value, Mapping):
        return {key: form(part) for key, part in value.items() if key not in UNLIKE}
    if isinstance(value, list):
        return [form(part) for part in value]
    if isinstance(value, str):
        if re.fullmatch(r"-?\d+", value):
            return "integer"
        if re.fullmatch(r"0x([0-9a-fA-F]{2})*", value):
            return f"{len(value) // 2 - 1} bytes"
        return "text"
    return type(value).__name__


def assert_same_form(recorded: Any, simulated: Any, where: str = "") -> None:
    if isinstance(recorded, dict) and isinstance(simulated, dict):
        assert simulated.keys() == recorded.keys(), where
        for key in recorded:
            # Bit fields are as long as the committees.
            if not key.endswith("_bits"):
                assert_same_form(recorded[key], simulated[key], f"{where}.{key}")
    elif isinstance(recorded, list) and isinstance(simulated, list):
        # Rows of one list are alike; an empty one has no form.
        for part in simulated if recorded else ():
            assert_same_form(recorded[0], part, f"{where}[]")
    else:
        assert simulated == recorded, where


def assert_same_answer(recorded: httpx.Response, simulated: httpx.Response) -> None:
    assert simulated.status_code == recorded.status_code
    names = [
        {name for name in response.headers if name.startswith("eth-") or name == "content-type"}
        for response in (recorded, simulated)
    ]
    assert names[1] == names[0]
    if recorded.content or simulated.content:
        assert_same_form(form(recorded.json()), form(simulated.json()))


@pytest.mark.parametrize("path", GETS)
def test_a_get_is_answered_in_the_recorded_form(sides: Sides, path: str) -> None:
    assert_same_answer(*sides.ask("GET", path))


@pytest.mark.parametrize(("path", "body"), POSTS)
def test_a_post_is_answered_in_the_recorded_form(sides: Sides, path: str, body: object) -> None:
    assert_same_answer(*sides.ask("POST", path, body))


def test_wrong_media_types_are_refused_alike(sides: Sides) -> None:
    path = "/eth/v1/beacon/rewards/attestations/8"
    for client in (sides.recorded, sides.simulated):
        response = client.post(path, content="[]", headers={"content-type": "text/plain"})
        assert response.status_code == 415
        assert (
            client.get("/eth/v2/beacon/blocks/head", headers={"accept": "text/html"}).status_code
            == 406
        )


def test_operations_are_where_the_test_thinks(sides: Sides) -> None:
    """So that the forms of operations are compared and not those of empty lists."""
    for place, *keys in (
        ("proposer_slashing", "proposer_slashings"),
        ("attester_slashing", "attester_slashings"),
        ("exit", "voluntary_exits"),
        ("change", "bls_to_execution_changes"),
        ("deposit", "execution_requests", "deposits"),
        ("withdrawal", "execution_requests", "withdrawals"),
        ("consolidation", "execution_requests", "consolidations"),
    ):
        for response in sides.ask("GET", f"/eth/v2/beacon/blocks/{{{place}}}"):
            part = response.json()["data"]["message"]["body"]
            for key in keys:
                part = part[key]
            assert len(part) > 0, place


def test_the_specification_has_every_name_of_the_recorded_one(sides: Sides) -> None:
    recorded, simulated = (
        set(response.json()["data"]) for response in sides.ask("GET", "/eth/v1/config/spec")
    )
    # Domains, weights and limits of the wire format: constants that no chain redefines.
    allowed = re.compile(
        r"DOMAIN_.*|TIMELY_.*|.*_WEIGHT|WEIGHT_DENOMINATOR|.*SUBNET.*|.*SUBCOMMITTEE.*|BLOB_.*|"
        r"VERSIONED_.*|KZG_.*|.*BLOB_COMMITMENTS.*|UPDATE_TIMEOUT|ENDIANNESS|BASE_REWARDS_PER_EPOCH|"
        r"DEPOSIT_CONTRACT_TREE_DEPTH|JUSTIFICATION_BITS_LENGTH|MIN_GENESIS_ACTIVE_VALIDATOR_COUNT"
    )
    assert {name for name in recorded - simulated if not allowed.fullmatch(name)} == set()
