"""Blocks and their parts in the JSON of the Beacon API."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.simulator.blocks import (
    Aggregate,
    AttestationData,
    DepositOperation,
    SimulatedBlock,
)
from valmon_pipeline.devnet.simulator.entropy import Entropy
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.state import BoolArray, Checkpoint

Json = dict[str, Any]

_ZERO_ROOT: Final = "0x" + "00" * 32
_NO_SIGNATURE: Final = "0x" + "00" * 96
_GRAFFITI: Final = "0x" + b"valmon simulator".ljust(32, b"\0").hex()
_FEE_RECIPIENT: Final = "0x00000000000000000000000000000000000000aa"


def signed_block(
    parameters: Parameters, entropy: Entropy, block: SimulatedBlock, *, genesis_time: int
) -> Json:
    """``SignedBeaconBlock`` with its whole body."""
    return {
        "message": {
            "slot": str(block.slot),
            "proposer_index": str(block.proposer_index),
            "parent_root": block.parent_root,
            "state_root": block.state_root,
            "body": _body(parameters, entropy, block, genesis_time),
        },
        "signature": signature(entropy, block, "block"),
    }


def blinded_block(
    parameters: Parameters, entropy: Entropy, block: SimulatedBlock, *, genesis_time: int
) -> Json:
    """``SignedBlindedBeaconBlock``: the payload's header instead of the payload."""
    signed = signed_block(parameters, entropy, block, genesis_time=genesis_time)
    body = signed["message"]["body"]
    header = dict(body["execution_payload"])
    del header["transactions"], header["withdrawals"]
    for name in ("transactions_root", "withdrawals_root"):
        header[name] = entropy.hex(32, name, block.root)
    signed["message"]["body"] = {
        ("execution_payload_header" if key == "execution_payload" else key): (
            header if key == "execution_payload" else value
        )
        for key, value in body.items()
    }
    return signed


def header(entropy: Entropy, block: SimulatedBlock, *, canonical: bool) -> Json:
    """A row of ``headers``."""
    message = {
        "slot": str(block.slot),
        "proposer_index": str(block.proposer_index),
        "parent_root": block.parent_root,
        "state_root": block.state_root,
        "body_root": entropy.hex(32, "body", block.root),
    }
    return {
        "root": block.root,
        "canonical": canonical,
        "header": {"message": message, "signature": signature(entropy, block, "block")},
    }


def attestations(entropy: Entropy, block: SimulatedBlock) -> list[Json]:
    """``body.attestations``, in the form of the block's fork."""
    return [
        _attestation(entropy, block, number, aggregate)
        for number, aggregate in enumerate(block.attestations)
    ]


def proposer_slashings(entropy: Entropy, block: SimulatedBlock) -> list[Json]:
    """``body.proposer_slashings``: each validator is blamed for two blocks of the slot before."""
    slashings = []
    for index in block.operations.proposer_slashings:
        headers = {}
        for number in (1, 2):
            purpose = ("double block", block.root, index)
            headers[f"signed_header_{number}"] = {
                "message": {
                    "slot": str(block.slot - 1),
                    "proposer_index": str(index),
                    "parent_root": entropy.hex(32, "parent", *purpose),
                    "state_root": entropy.hex(32, "state", *purpose),
                    "body_root": entropy.hex(32, "body", *purpose, number),
                },
                "signature": entropy.hex(96, "signature", *purpose, number),
            }
        slashings.append(headers)
    return slashings


def attester_slashings(entropy: Entropy, block: SimulatedBlock, epoch: int) -> list[Json]:
    """``body.attester_slashings``: two votes for one target epoch."""
    slashings = []
    for indices in block.operations.attester_slashings:
        purpose: tuple[int | str, ...] = ("double vote", block.root, *indices)
        source = {"epoch": str(max(epoch - 2, 0)), "root": entropy.hex(32, "source", *purpose)}
        target = {"epoch": str(max(epoch - 1, 0)), "root": entropy.hex(32, "target", *purpose)}
        slashings.append(
            {
                f"attestation_{number}": {
                    "attesting_indices": [str(index) for index in indices],
                    "data": {
                        "slot": str(block.slot - 1),
                        "index": "0",
                        "beacon_block_root": entropy.hex(32, "head", *purpose, number),
                        "source": source,
                        "target": target,
                    },
                    "signature": entropy.hex(96, "signature", *purpose, number),
                }
                for number in (1, 2)
            }
        )
    return slashings


def voluntary_exits(entropy: Entropy, block: SimulatedBlock) -> list[Json]:
    """``body.voluntary_exits``."""
    return [
        {
            "message": {"epoch": str(known.epoch), "validator_index": str(known.validator_index)},
            "signature": entropy.hex(96, "exit", known.validator_index),
        }
        for known in block.operations.voluntary_exits
    ]


def credential_changes(entropy: Entropy, block: SimulatedBlock) -> list[Json]:
    """``body.bls_to_execution_changes``."""
    return [
        {
            "message": {
                "validator_index": str(change.validator_index),
                "from_bls_pubkey": entropy.hex(48, "withdrawal key", change.validator_index),
                "to_execution_address": "0x" + change.address.hex(),
            },
            "signature": entropy.hex(96, "change", change.validator_index),
        }
        for change in block.operations.credential_changes
    ]


def signature(entropy: Entropy, block: SimulatedBlock, *purpose: int | str) -> str:
    """Bytes that stand for a signature; the genesis block has none."""
    if block.slot == 0:
        return _NO_SIGNATURE
    return entropy.hex(96, "signature", block.root, *purpose)


def checkpoint(known: Checkpoint) -> Json:
    """A checkpoint."""
    return {"epoch": str(known.epoch), "root": known.root}


def bitvector(bits: BoolArray) -> str:
    """An SSZ bitvector in hexadecimal."""
    return "0x" + np.packbits(bits, bitorder="little").tobytes().hex()


def bitlist(bits: BoolArray) -> str:
    """An SSZ bitlist in hexadecimal: the bits and a last one that marks the length."""
    return bitvector(np.append(bits, True))


def _body(
    parameters: Parameters, entropy: Entropy, block: SimulatedBlock, genesis_time: int
) -> Json:
    is_genesis = block.slot == 0
    operations = block.operations
    epoch = parameters.epoch_of(block.slot)
    body: Json = {
        "randao_reveal": signature(entropy, block, "randao"),
        "eth1_data": {
            "deposit_root": _ZERO_ROOT if is_genesis else entropy.hex(32, "deposits"),
            "deposit_count": str(block.deposit_count),
            "block_hash": _ZERO_ROOT if is_genesis else entropy.hex(32, "eth1 block"),
        },
        "graffiti": _ZERO_ROOT if is_genesis else _GRAFFITI,
        "proposer_slashings": proposer_slashings(entropy, block),
        "attester_slashings": attester_slashings(entropy, block, epoch),
        "attestations": attestations(entropy, block),
        "deposits": [_bridge_deposit(entropy, deposit) for deposit in operations.deposits],
        "voluntary_exits": voluntary_exits(entropy, block),
        "sync_aggregate": {
            "sync_committee_bits": bitvector(block.sync_bits),
            "sync_committee_signature": signature(entropy, block, "sync"),
        },
        "execution_payload": _payload(parameters, entropy, block, genesis_time),
        "bls_to_execution_changes": credential_changes(entropy, block),
        "blob_kzg_commitments": [],
    }
    if block.fork >= Fork.ELECTRA:
        body["execution_requests"] = _requests(block)
    return body


def _attestation(
    entropy: Entropy, block: SimulatedBlock, number: int, aggregate: Aggregate
) -> Json:
    electra = block.fork >= Fork.ELECTRA
    index = 0 if electra else aggregate.committees[0]
    attestation: Json = {
        "aggregation_bits": bitlist(aggregate.bits),
        "data": _attestation_data(aggregate.data, index),
        "signature": signature(entropy, block, "attestation", number),
    }
    if electra:
        bits = np.zeros(block.max_committees_per_slot, np.bool_)
        bits[list(aggregate.committees)] = True
        attestation["committee_bits"] = bitvector(bits)
    return attestation


def _attestation_data(data: AttestationData, index: int) -> Json:
    return {
        "slot": str(data.slot),
        "index": str(index),
        "beacon_block_root": data.beacon_block_root,
        "source": checkpoint(data.source),
        "target": checkpoint(data.target),
    }


def _payload(
    parameters: Parameters, entropy: Entropy, block: SimulatedBlock, genesis_time: int
) -> Json:
    is_genesis = block.slot == 0

    def payload_hash(root: str) -> str:
        return entropy.hex(32, "payload", root)

    seconds = block.slot * parameters.slot_duration_ms // 1000
    return {
        "parent_hash": _ZERO_ROOT if is_genesis else payload_hash(block.parent_root),
        "fee_recipient": "0x" + "00" * 20 if is_genesis else _FEE_RECIPIENT,
        "state_root": _ZERO_ROOT,
        "receipts_root": _ZERO_ROOT,
        "logs_bloom": "0x" + "00" * 256,
        "prev_randao": _ZERO_ROOT if is_genesis else entropy.hex(32, "randao", block.root),
        "block_number": str(block.number),
        "gas_limit": "0" if is_genesis else "30000000",
        "gas_used": "0" if is_genesis else "15000000",
        "timestamp": "0" if is_genesis else str(genesis_time + seconds),
        "extra_data": "0x",
        "base_fee_per_gas": "0",
        "block_hash": _ZERO_ROOT if is_genesis else payload_hash(block.root),
        "transactions": [],
        "withdrawals": [
            {
                "index": str(known.index),
                "validator_index": str(known.validator_index),
                "address": known.address,
                "amount": str(known.amount),
            }
            for known in block.withdrawals
        ],
        "blob_gas_used": "0",
        "excess_blob_gas": "0",
    }


def _requests(block: SimulatedBlock) -> Json:
    operations = block.operations
    return {
        "deposits": [
            {**_deposit_data(deposit), "index": str(deposit.index)}
            for deposit in operations.deposit_requests
        ],
        "withdrawals": [
            {
                "source_address": "0x" + request.source_address.hex(),
                "validator_pubkey": "0x" + request.pubkey.hex(),
                "amount": str(request.amount),
            }
            for request in operations.withdrawal_requests
        ],
        "consolidations": [
            {
                "source_address": "0x" + request.source_address.hex(),
                "source_pubkey": "0x" + request.source_pubkey.hex(),
                "target_pubkey": "0x" + request.target_pubkey.hex(),
            }
            for request in operations.consolidation_requests
        ],
    }


def _bridge_deposit(entropy: Entropy, deposit: DepositOperation) -> Json:
    proof = [entropy.hex(32, "proof", deposit.index, depth) for depth in range(33)]
    return {"proof": proof, "data": _deposit_data(deposit)}


def _deposit_data(deposit: DepositOperation) -> Json:
    return {
        "pubkey": "0x" + deposit.pubkey.hex(),
        "withdrawal_credentials": "0x" + deposit.withdrawal_credentials.hex(),
        "amount": str(deposit.amount),
        "signature": deposit.signature,
    }
