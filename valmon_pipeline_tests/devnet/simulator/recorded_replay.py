"""The recorded devnet's blocks, applied by the simulator's rules to a state of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import msgspec
import numpy as np

from valmon_pipeline.chain.epochs import FAR_FUTURE_EPOCH, NEVER
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.simulator.block_processing import BlockEffects, process_block
from valmon_pipeline.devnet.simulator.blocks import (
    Aggregate,
    AttestationData,
    ConsolidationRequest,
    CredentialChangeOperation,
    DepositOperation,
    Operations,
    VoluntaryExitOperation,
    WithdrawalRequest,
)
from valmon_pipeline.devnet.simulator.entropy import Entropy
from valmon_pipeline.devnet.simulator.epoch_processing import RewardedEpoch, process_epoch
from valmon_pipeline.devnet.simulator.fork_upgrade import upgrade_to_electra
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.shuffling import Shuffling
from valmon_pipeline.devnet.simulator.state import BoolArray, Checkpoint, State, Validators

STATES = "/eth/v1/beacon/states"
START = 16
"""The first slot whose state is compared: the votes of the epoch before it are all recorded."""


class Recorded:
    """Final answers of the recorded devnet."""

    def __init__(self) -> None:
        self._recording = Recording.load(RECORDING_PATH)
        self.config = dict(self._recording.spec)
        self.parameters = Parameters.from_config(self.config)
        self.last_slot = self._recording.slots[-1]

    def get(self, path: str, query: str = "") -> Any:
        exchange = self._recording.best("GET", path, query)
        if exchange is None or exchange.status != 200:
            return None
        return msgspec.json.decode(exchange.content)["data"]

    def post_everybody(self, path: str) -> Any:
        exchange = self._recording.best("POST", path, "", b"[]")
        assert exchange is not None
        return msgspec.json.decode(exchange.content)["data"]

    def block(self, slot: int) -> Any:
        return self.get(f"/eth/v2/beacon/blocks/{slot}")

    def root(self, slot: int) -> str | None:
        header = self.get(f"/eth/v1/beacon/headers/{slot}")
        return None if header is None else str(header["root"])

    def balances(self, slot: int) -> list[int]:
        rows = self.get(f"{STATES}/{slot}/validator_balances")
        return [int(row["balance"]) for row in sorted(rows, key=lambda row: int(row["index"]))]

    def registry(self, slot: int) -> Validators:
        rows = sorted(self.get(f"{STATES}/{slot}/validators"), key=lambda row: int(row["index"]))
        fields = [row["validator"] for row in rows]
        zeros = np.zeros(len(rows), np.uint8)

        def column(name: str) -> Any:
            numbers = [int(validator[name]) for validator in fields]
            return np.array([NEVER if n == FAR_FUTURE_EPOCH else n for n in numbers], np.int64)

        def matrix(name: str) -> Any:
            return np.array([list(_bytes(validator[name])) for validator in fields], np.uint8)

        return Validators(
            balance=np.array([int(row["balance"]) for row in rows], np.int64),
            effective_balance=column("effective_balance"),
            slashed=np.array([validator["slashed"] for validator in fields]),
            activation_eligibility_epoch=column("activation_eligibility_epoch"),
            activation_epoch=column("activation_epoch"),
            exit_epoch=column("exit_epoch"),
            withdrawable_epoch=column("withdrawable_epoch"),
            pubkey=matrix("pubkey"),
            withdrawal_credentials=matrix("withdrawal_credentials"),
            inactivity_score=np.zeros(len(rows), np.int64),
            previous_participation=zeros,
            current_participation=zeros.copy(),
        )

    def checkpoints(self, slot: int) -> dict[str, Checkpoint]:
        data = self.get(f"{STATES}/{slot}/finality_checkpoints")
        return {name: Checkpoint(int(at["epoch"]), at["root"]) for name, at in data.items()}

    def shuffling(self, epoch: int) -> Shuffling:
        slots = self.parameters.slots_per_epoch
        rows = self.get(f"{STATES}/{epoch * slots}/committees", f"epoch={epoch}")
        if rows is None:  # of the epoch before the first that was recorded
            rows = self.get(f"{STATES}/{(epoch + 1) * slots}/committees", f"epoch={epoch}")
        rows = sorted(rows, key=lambda row: (int(row["slot"]), int(row["index"])))
        members = [[int(index) for index in row["validators"]] for row in rows]
        bounds = np.cumsum([0, *map(len, members)])
        return Shuffling(epoch, len(rows) // slots, np.concatenate(members), bounds, "")

    def sync_committee(self, epoch: int) -> Any:
        first = epoch * self.parameters.slots_per_epoch
        data = self.get(f"{STATES}/{first}/sync_committees", f"epoch={epoch}")
        return np.array([int(index) for index in data["validators"]], np.int64)


@cache
def recorded() -> Recorded:
    """The recording, loaded once per test process."""
    return Recorded()


@dataclass(frozen=True, slots=True)
class ReplayedSlot:
    """The state after a slot, what its block did, and what a transition before it paid."""

    slot: int
    state: State
    effects: BlockEffects | None
    rewarded: RewardedEpoch | None


class RecordedChain:
    """The recorded chain's state as the simulator computes it."""

    def __init__(self) -> None:
        self.parameters = recorded().parameters
        self._entropy = Entropy(0)
        first = self.parameters.slots_per_epoch
        committee = recorded().sync_committee(1)
        validators = recorded().registry(first)
        self.state = State(
            slot=first,
            validators=validators,
            index_of={key.tobytes(): index for index, key in enumerate(validators.pubkey)},
            roots=[self._root_before(first)] * first + [recorded().root(first) or ""],
            slashings=np.zeros(self.parameters.epochs_per_slashings_vector, np.int64),
            current_sync_committee=committee,
            next_sync_committee=committee,
            deposit_count=len(validators),
            eth1_deposit_index=len(validators),
        )
        self.state.refresh_total_active_balance(self.parameters)
        self._continue_sweep_after(recorded().block(first))

    def slots(self) -> Iterator[ReplayedSlot]:
        """Yield every slot from ``START`` on; ``state`` is live, do not keep it."""
        while self.state.slot < START:
            self._step()
        # Votes of the epoch before last were not recorded and what they paid is not known: only
        # participation is kept of the run up to here.
        known, validators = recorded().registry(START), self.state.validators
        known.previous_participation = validators.previous_participation
        known.current_participation = validators.current_participation
        self.state.validators = known
        self._continue_sweep_after(recorded().block(START))
        while self.state.slot < recorded().last_slot:
            yield self._step()

    def _step(self) -> ReplayedSlot:
        state, parameters = self.state, self.parameters
        rewarded = None
        if (state.slot + 1) % parameters.slots_per_epoch == 0:
            rewarded = process_epoch(parameters, self._entropy, state)
        state.slot += 1
        state.roots.append(state.roots[-1])
        epoch = parameters.epoch_of(state.slot)
        if state.slot % parameters.slots_per_epoch == 0:
            state.refresh_total_active_balance(parameters)
            state.current_sync_committee = recorded().sync_committee(epoch)
            if epoch == parameters.electra_fork_epoch:
                upgrade_to_electra(parameters, state)
        block = recorded().block(state.slot)
        effects = None
        if block is not None:
            message = block["message"]
            body = message["body"]
            effects = process_block(
                parameters,
                state,
                int(message["proposer_index"]),
                _operations(body),
                [self._aggregate(row) for row in body["attestations"]],
                _bits(body["sync_aggregate"]["sync_committee_bits"]),
            )
            state.roots[-1] = recorded().root(state.slot) or ""
        return ReplayedSlot(state.slot, state, effects, rewarded)

    def _aggregate(self, row: Any) -> Aggregate:
        data = row["data"]
        slot, epoch = int(data["slot"]), int(data["target"]["epoch"])
        shuffling = self._shuffling(epoch)
        bits = _bits(row["aggregation_bits"])
        bits = bits[: np.flatnonzero(bits)[-1]]
        committees = [int(data["index"])]
        if "committee_bits" in row:
            committees = np.flatnonzero(_bits(row["committee_bits"])).tolist()
        numbers = shuffling.committees(slot % self.parameters.slots_per_epoch)
        members = np.concatenate([shuffling.committee(numbers[at]) for at in committees])
        source, target = (
            Checkpoint(int(data[name]["epoch"]), data[name]["root"])
            for name in ("source", "target")
        )
        return Aggregate(
            AttestationData(slot, data["beacon_block_root"], source, target),
            tuple(committees),
            bits,
            members[bits],
        )

    @cached_property
    def _shufflings(self) -> dict[int, Shuffling]:
        return {}

    def _shuffling(self, epoch: int) -> Shuffling:
        if epoch not in self._shufflings:
            self._shufflings[epoch] = recorded().shuffling(epoch)
        return self._shufflings[epoch]

    def _root_before(self, slot: int) -> str:
        return str(recorded().block(slot)["message"]["parent_root"])

    def _continue_sweep_after(self, block: Any) -> None:
        withdrawals = block["message"]["body"]["execution_payload"]["withdrawals"]
        assert len(withdrawals) == self.parameters.max_withdrawals_per_payload
        self.state.next_withdrawal_index = int(withdrawals[-1]["index"]) + 1
        following = int(withdrawals[-1]["validator_index"]) + 1
        self.state.next_withdrawal_validator_index = following % len(self.state.validators)


def _operations(body: Any) -> Operations:
    requests = body.get("execution_requests", {})
    return Operations(
        proposer_slashings=tuple(
            int(slashing["signed_header_1"]["message"]["proposer_index"])
            for slashing in body["proposer_slashings"]
        ),
        attester_slashings=tuple(
            tuple(
                sorted(
                    set(map(int, slashing["attestation_1"]["attesting_indices"]))
                    & set(map(int, slashing["attestation_2"]["attesting_indices"]))
                )
            )
            for slashing in body["attester_slashings"]
        ),
        voluntary_exits=tuple(
            VoluntaryExitOperation(
                int(leaving["message"]["validator_index"]), int(leaving["message"]["epoch"])
            )
            for leaving in body["voluntary_exits"]
        ),
        credential_changes=tuple(
            CredentialChangeOperation(
                int(change["message"]["validator_index"]),
                _bytes(change["message"]["to_execution_address"]),
            )
            for change in body["bls_to_execution_changes"]
        ),
        deposit_requests=tuple(
            DepositOperation(
                _bytes(row["pubkey"]),
                _bytes(row["withdrawal_credentials"]),
                int(row["amount"]),
                row["signature"],
                int(row["index"]),
            )
            for row in requests.get("deposits", ())
        ),
        withdrawal_requests=tuple(
            WithdrawalRequest(
                _bytes(row["source_address"]), _bytes(row["validator_pubkey"]), int(row["amount"])
            )
            for row in requests.get("withdrawals", ())
        ),
        consolidation_requests=tuple(
            ConsolidationRequest(
                _bytes(row["source_address"]),
                _bytes(row["source_pubkey"]),
                _bytes(row["target_pubkey"]),
            )
            for row in requests.get("consolidations", ())
        ),
    )


def _bits(text: str) -> BoolArray:
    packed = np.frombuffer(_bytes(text), np.uint8)
    return np.unpackbits(packed, bitorder="little").astype(np.bool_)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
