"""Recorded devnets as chain objects: what real nodes said, read without valmon's own client.

Deliberately naive, so that it cannot share a mistake with ``beacon``: answers decoded with the
standard library, one object at a time.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import numpy as np
import zstandard

from valmon_pipeline.beacon.state_ssz.decode import ExpectedState, decode_state
from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.chain.blocks import (
    Attestation,
    Block,
    BlockHeader,
    ConsolidationRequest,
    Deposit,
    Operations,
    Withdrawal,
    WithdrawalRequest,
)
from valmon_pipeline.chain.canonical import CanonicalChain
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.epochs import FAR_FUTURE_EPOCH, NEVER
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.registry import ByteMatrix, Int64Array, ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec

FIRST_EPOCH, LAST_EPOCH = 1, 41
"""Epochs whose inclusion window and following state are recorded."""

Json = Any

_RECORDINGS: Final = Path(__file__).parent / "recordings"


@dataclass(frozen=True, slots=True)
class NodeAttestationRewards:
    """The node's ``rewards/attestations``: gwei by component, ideal rows by effective balance."""

    total: dict[int, dict[str, int]]
    ideal: dict[int, dict[str, int]]


class Recording:
    """Answers of a recorded devnet by what they are about.

    Of the answers of ``phases`` the last one counts, but no error after an answer.
    """

    def __init__(self, lines: Iterable[str], phases: tuple[str, ...] = ("final", "static")) -> None:
        self._answers: dict[tuple[str, str], tuple[int, Json]] = {}
        self._live_attester_duties: dict[str, Json] = {}
        for line in lines:
            exchange = json.loads(line)
            if exchange["phase"] in phases:
                key = (exchange["path"], _arguments(exchange))
                if exchange["status"] == 200 or key not in self._answers:
                    self._answers[key] = (exchange["status"], exchange["body"])
            elif "/duties/attester/" in exchange["path"] and exchange["status"] == 200:
                # This client refuses past duties: the last answer while they were current counts.
                self._live_attester_duties[exchange["path"]] = exchange["body"]["data"]
        self.spec = ChainSpec.from_config(self._data("/eth/v1/config/spec"))

    def header(self, slot: int) -> BlockHeader | None:
        """The canonical header of a slot; None if it was skipped."""
        status, body = self._answers[f"/eth/v1/beacon/headers/{slot}", ""]
        if status == 404:
            return None
        message = body["data"]["header"]["message"]
        return BlockHeader(
            slot=int(message["slot"]),
            root=_bytes(body["data"]["root"]),
            parent_root=_bytes(message["parent_root"]),
            proposer_index=int(message["proposer_index"]),
        )

    def block(self, slot: int) -> Block:
        """The canonical block of a slot that has one."""
        status, body = self._answers[f"/eth/v2/beacon/blocks/{slot}", ""]
        assert status == 200
        message = body["data"]["message"]
        content = message["body"]
        return Block(
            slot=int(message["slot"]),
            proposer_index=int(message["proposer_index"]),
            parent_root=_bytes(message["parent_root"]),
            fork=Fork[body["version"].upper()],
            attestations=tuple(_attestation(item) for item in content["attestations"]),
            sync_committee_bits=_bytes(content["sync_aggregate"]["sync_committee_bits"]),
            operations=_operations(content),
        )

    def window(self, epoch: int) -> CanonicalChain:
        """The canonical chain that decides the attestations of an epoch."""
        first, last = self.spec.first_slot(epoch), self.spec.last_slot(epoch + 1)
        headers = [self.header(slot) for slot in range(first, last + 1)]
        return CanonicalChain.from_headers(
            [header for header in headers if header], first_slot=first, last_slot=last
        )

    def blocks(self, first_slot: int, last_slot: int) -> list[Block]:
        """The canonical blocks of a range of slots."""
        return [self.block(slot) for slot in range(first_slot, last_slot + 1) if self.header(slot)]

    def committees(self, epoch: int) -> Committees:
        """The committees of an epoch, from the state at its first slot."""
        path = f"/eth/v1/beacon/states/{self.spec.first_slot(epoch)}/committees"
        rows = self._data(path, json.dumps({"epoch": str(epoch)}))
        return Committees.from_rows(
            [int(row["slot"]) for row in rows],
            [int(row["index"]) for row in rows],
            [len(row["validators"]) for row in rows],
            [int(index) for row in rows for index in row["validators"]],
        )

    def attester_duties(self, epoch: int) -> dict[int, tuple[int, int, int, int]]:
        """Slot, committee index, position and committee length by validator, as seen live."""
        return {
            int(row["validator_index"]): (
                int(row["slot"]),
                int(row["committee_index"]),
                int(row["validator_committee_index"]),
                int(row["committee_length"]),
            )
            for row in self._live_attester_duties[f"/eth/v1/validator/duties/attester/{epoch}"]
        }

    def registry(self, epoch: int) -> ValidatorRegistry:
        """All validators in the state at the first slot of an epoch."""
        rows = self._validators(epoch)
        validators = [row["validator"] for row in rows]
        return ValidatorRegistry(
            validator_index=_column(row["index"] for row in rows),
            balance=_column(row["balance"] for row in rows),
            effective_balance=_column(v["effective_balance"] for v in validators),
            slashed=np.array([v["slashed"] for v in validators], dtype=np.bool_),
            activation_eligibility_epoch=_column(
                v["activation_eligibility_epoch"] for v in validators
            ),
            activation_epoch=_column(v["activation_epoch"] for v in validators),
            exit_epoch=_column(v["exit_epoch"] for v in validators),
            withdrawable_epoch=_column(v["withdrawable_epoch"] for v in validators),
            pubkey=_matrix(v["pubkey"] for v in validators),
            withdrawal_credentials=_matrix(v["withdrawal_credentials"] for v in validators),
        )

    def statuses(self, epoch: int) -> list[str]:
        """The node's own status of every validator at the first slot of an epoch."""
        return [row["status"] for row in self._validators(epoch)]

    def finalized_epoch(self, slot: int) -> int:
        """The finalized epoch in the state of a slot."""
        path = f"/eth/v1/beacon/states/{slot}/finality_checkpoints"
        return int(self._data(path)["finalized"]["epoch"])

    def attestation_rewards(self, epoch: int) -> NodeAttestationRewards:
        """Rewards of every validator for attestations of a target epoch."""
        data = self._data(f"/eth/v1/beacon/rewards/attestations/{epoch}", "[]")
        return NodeAttestationRewards(
            total=_rewards_by("validator_index", data["total_rewards"]),
            ideal=_rewards_by("effective_balance", data["ideal_rewards"]),
        )

    def has_attestation_rewards(self, epoch: int) -> bool:
        """Whether the node had the rewards of an epoch."""
        status, _ = self._answers[f"/eth/v1/beacon/rewards/attestations/{epoch}", "[]"]
        return status == 200

    def proposers(self, epoch: int) -> list[int]:
        """The proposer of each slot of an epoch."""
        rows = self._data(f"/eth/v1/validator/duties/proposer/{epoch}")
        return [int(row["validator_index"]) for row in sorted(rows, key=lambda r: int(r["slot"]))]

    def genesis_validators_root(self) -> bytes:
        """The root that states of the chain carry."""
        return _bytes(self._data("/eth/v1/beacon/genesis")["genesis_validators_root"])

    def sync_committee(self, epoch: int) -> Int64Array:
        """The validator of each sync committee seat in an epoch."""
        path = f"/eth/v1/beacon/states/{self.spec.first_slot(epoch)}/sync_committees"
        for (answer_path, _), (status, body) in self._answers.items():
            if answer_path == path and status == 200:
                return _column(body["data"]["validators"])
        raise KeyError(path)

    def sync_rewards(self, slot: int) -> dict[int, int]:
        """Gwei per sync committee member for a block, all its seats netted."""
        path = f"/eth/v1/beacon/rewards/sync_committee/{slot}"
        rewards: dict[int, int] = {}
        for row in self._data(path, "[]"):
            index = int(row["validator_index"])
            rewards[index] = rewards.get(index, 0) + int(row["reward"])
        return rewards

    def block_rewards(self, slot: int) -> dict[str, int]:
        """Gwei the proposer of a block earned, by component."""
        data = self._data(f"/eth/v1/beacon/rewards/blocks/{slot}")
        return {name: int(value) for name, value in data.items()}

    def _validators(self, epoch: int) -> list[Json]:
        path = f"/eth/v1/beacon/states/{self.spec.first_slot(epoch)}/validators"
        rows: list[Json] = self._data(path)
        return sorted(rows, key=lambda row: int(row["index"]))

    def _data(self, path: str, arguments: str = "") -> Json:
        status, body = self._answers[path, arguments]
        assert status == 200, (path, arguments, status)
        return body["data"]


@cache
def devnet() -> Recording:
    """The recording that ships with the package, loaded once per test process."""
    resource = files("valmon_pipeline") / "devnet" / "recordings" / "devnet.jsonl.zst"
    with as_file(resource) as path:
        return _recording(path)


@cache
def ssz_devnet() -> Recording:
    """The second recording, of which the states of all first slots are kept."""
    return _recording(_RECORDINGS / "ssz" / "recording.jsonl.zst")


@cache
def mainnet_devnet() -> Recording:
    """The recording of mainnet's shape, taken while everything was current."""
    return _recording(_RECORDINGS / "mainnet" / "recording.jsonl.zst", ("live", "static"))


@cache
def kept_state(recording: str, slot: int) -> BeaconState:
    """The state after ``slot`` of the recording ``"ssz"`` or ``"mainnet"``."""
    chain = {"ssz": ssz_devnet, "mainnet": mainnet_devnet}[recording]()
    packed = (_RECORDINGS / recording / "states" / f"state-{slot}.ssz.zst").read_bytes()
    content = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    return decode_state(
        chain.spec,
        chain.spec.fork_at_slot(slot),
        content,
        ExpectedState(slot, chain.genesis_validators_root()),
    )


def _recording(path: Path, phases: tuple[str, ...] = ("final", "static")) -> Recording:
    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        return Recording(io.TextIOWrapper(reader, encoding="utf-8"), phases)


def _arguments(exchange: Json) -> str:
    """Query and body as one key; empty for a plain GET."""
    query = exchange["query"]
    if isinstance(query, str):
        query = dict(parse_qsl(query))
    given = query or exchange["request_body"]
    if not given and exchange["method"] == "GET":
        return ""
    return json.dumps(given)


def _attestation(item: Json) -> Attestation:
    data = item["data"]
    return Attestation(
        slot=int(data["slot"]),
        committee_index=int(data["index"]),
        beacon_block_root=_bytes(data["beacon_block_root"]),
        source_epoch=int(data["source"]["epoch"]),
        target_epoch=int(data["target"]["epoch"]),
        target_root=_bytes(data["target"]["root"]),
        aggregation_bits=_bytes(item["aggregation_bits"]),
        committee_bits=_bytes(item["committee_bits"]) if "committee_bits" in item else None,
    )


def _operations(content: Json) -> Operations:
    requests = content.get("execution_requests", {})
    return Operations(
        withdrawals=tuple(
            Withdrawal(int(row["validator_index"]), int(row["amount"]))
            for row in content["execution_payload"]["withdrawals"]
        ),
        proposer_slashings=tuple(
            int(slashing["signed_header_1"]["message"]["proposer_index"])
            for slashing in content["proposer_slashings"]
        ),
        attester_slashings=tuple(
            tuple(
                sorted(
                    {int(index) for index in slashing["attestation_1"]["attesting_indices"]}
                    & {int(index) for index in slashing["attestation_2"]["attesting_indices"]}
                )
            )
            for slashing in content["attester_slashings"]
        ),
        voluntary_exits=tuple(
            int(signed["message"]["validator_index"]) for signed in content["voluntary_exits"]
        ),
        credential_changes=tuple(
            int(signed["message"]["validator_index"])
            for signed in content["bls_to_execution_changes"]
        ),
        deposit_requests=tuple(
            Deposit(
                _bytes(row["pubkey"]),
                _bytes(row["withdrawal_credentials"]),
                int(row["amount"]),
                _bytes(row["signature"]),
            )
            for row in requests.get("deposits", [])
        ),
        withdrawal_requests=tuple(
            WithdrawalRequest(
                _bytes(row["source_address"]),
                _bytes(row["validator_pubkey"]),
                int(row["amount"]),
            )
            for row in requests.get("withdrawals", [])
        ),
        consolidation_requests=tuple(
            ConsolidationRequest(
                _bytes(row["source_address"]),
                _bytes(row["source_pubkey"]),
                _bytes(row["target_pubkey"]),
            )
            for row in requests.get("consolidations", [])
        ),
    )


def _rewards_by(key: str, rows: Json) -> dict[int, dict[str, int]]:
    components = ("source", "target", "head", "inactivity")
    return {int(row[key]): {name: int(row[name]) for name in components} for row in rows}


def _column(values: Iterable[str]) -> Int64Array:
    numbers = (int(value) for value in values)
    return np.array(
        [NEVER if number == FAR_FUTURE_EPOCH else number for number in numbers], dtype=np.int64
    )


def _matrix(values: Iterable[str]) -> ByteMatrix:
    return np.array([list(_bytes(value)) for value in values], dtype=np.uint8)


def _bytes(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("0x"))
