"""Signed blocks in SSZ made from their JSON: the types of consensus-specs, and a serializer.

Deliberately general, so that it cannot share a mistake with ``beacon.block_ssz``: a type is a
function from a JSON value to its bytes, together with the number of bytes if that is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec

Json = Any


@dataclass(frozen=True)
class Type:
    """``size`` is None for a type of variable size."""

    size: int | None
    serialize: Callable[[Json], bytes]


def uint(size: int) -> Type:
    return Type(size, lambda value: int(value).to_bytes(size, "little"))


def hexadecimal(size: int | None = None) -> Type:
    """Byte vectors and lists, bit vectors and bit lists: JSON has their SSZ in hexadecimal."""

    def serialize(value: Json) -> bytes:
        content = bytes.fromhex(value.removeprefix("0x"))
        assert size is None or len(content) == size, (value, size)
        return content

    return Type(size, serialize)


def series(parts: list[tuple[Type, Json]]) -> bytes:
    """Values one after the other, those of variable size at the end behind their offsets."""
    contents = [of.serialize(value) for of, value in parts]
    at = sum(4 if of.size is None else of.size for of, _ in parts)
    fixed, variable = b"", b""
    for (of, _), content in zip(parts, contents, strict=True):
        if of.size is None:
            fixed += (at + len(variable)).to_bytes(4, "little")
            variable += content
        else:
            fixed += content
    return fixed + variable


def list_of(of: Type) -> Type:
    return Type(None, lambda values: series([(of, value) for value in values]))


def vector_of(of: Type, length: int) -> Type:
    assert of.size is not None
    return Type(of.size * length, lambda values: series([(of, value) for value in values]))


def container(fields: Mapping[str, Type]) -> Type:
    sizes = [of.size for of in fields.values()]
    fixed = None if None in sizes else sum(size for size in sizes if size is not None)

    def serialize(value: Json) -> bytes:
        assert value.keys() == fields.keys(), value.keys() ^ fields.keys()
        return series([(of, value[name]) for name, of in fields.items()])

    return Type(fixed, serialize)


UINT64, UINT256 = uint(8), uint(32)
ADDRESS, ROOT = hexadecimal(20), hexadecimal(32)
PUBKEY, COMMITMENT, SIGNATURE = hexadecimal(48), hexadecimal(48), hexadecimal(96)
BYTES = hexadecimal()
CHECKPOINT = container({"epoch": UINT64, "root": ROOT})
ATTESTATION_DATA = container(
    {
        "slot": UINT64,
        "index": UINT64,
        "beacon_block_root": ROOT,
        "source": CHECKPOINT,
        "target": CHECKPOINT,
    }
)
INDEXED_ATTESTATION = container(
    {"attesting_indices": list_of(UINT64), "data": ATTESTATION_DATA, "signature": SIGNATURE}
)


def signed(message: Type) -> Type:
    return container({"message": message, "signature": SIGNATURE})


HEADER = signed(
    container(
        {
            "slot": UINT64,
            "proposer_index": UINT64,
            "parent_root": ROOT,
            "state_root": ROOT,
            "body_root": ROOT,
        }
    )
)
DEPOSIT_DATA = {
    "pubkey": PUBKEY,
    "withdrawal_credentials": ROOT,
    "amount": UINT64,
    "signature": SIGNATURE,
}
WITHDRAWAL = container(
    {"index": UINT64, "validator_index": UINT64, "address": ADDRESS, "amount": UINT64}
)
EXECUTION_REQUESTS = container(
    {
        "deposits": list_of(container({**DEPOSIT_DATA, "index": UINT64})),
        "withdrawals": list_of(
            container({"source_address": ADDRESS, "validator_pubkey": PUBKEY, "amount": UINT64})
        ),
        "consolidations": list_of(
            container({"source_address": ADDRESS, "source_pubkey": PUBKEY, "target_pubkey": PUBKEY})
        ),
    }
)


def signed_block(spec: ChainSpec, fork: Fork, *, blinded: bool = False) -> Type:
    """The type of a fork's signed blocks."""
    attestation = {
        "aggregation_bits": BYTES,
        "data": ATTESTATION_DATA,
        "signature": SIGNATURE,
    }
    if fork >= Fork.ELECTRA:
        attestation["committee_bits"] = hexadecimal((spec.max_committees_per_slot + 7) // 8)
    body = {
        "randao_reveal": SIGNATURE,
        "eth1_data": container({"deposit_root": ROOT, "deposit_count": UINT64, "block_hash": ROOT}),
        "graffiti": ROOT,
        "proposer_slashings": list_of(
            container({"signed_header_1": HEADER, "signed_header_2": HEADER})
        ),
        "attester_slashings": list_of(
            container({"attestation_1": INDEXED_ATTESTATION, "attestation_2": INDEXED_ATTESTATION})
        ),
        "attestations": list_of(container(attestation)),
        "deposits": list_of(
            container({"proof": vector_of(ROOT, 33), "data": container(DEPOSIT_DATA)})
        ),
        "voluntary_exits": list_of(signed(container({"epoch": UINT64, "validator_index": UINT64}))),
    }
    if fork >= Fork.ALTAIR:
        body["sync_aggregate"] = container(
            {
                "sync_committee_bits": hexadecimal((spec.sync_committee_size + 7) // 8),
                "sync_committee_signature": SIGNATURE,
            }
        )
    if fork >= Fork.BELLATRIX:
        name = "execution_payload_header" if blinded else "execution_payload"
        body[name] = execution_payload(fork, blinded)
    if fork >= Fork.CAPELLA:
        body["bls_to_execution_changes"] = list_of(
            signed(
                container(
                    {
                        "validator_index": UINT64,
                        "from_bls_pubkey": PUBKEY,
                        "to_execution_address": ADDRESS,
                    }
                )
            )
        )
    if fork >= Fork.DENEB:
        body["blob_kzg_commitments"] = list_of(COMMITMENT)
    if fork >= Fork.ELECTRA:
        body["execution_requests"] = EXECUTION_REQUESTS
    block = {
        "slot": UINT64,
        "proposer_index": UINT64,
        "parent_root": ROOT,
        "state_root": ROOT,
        "body": container(body),
    }
    return signed(container(block))


def execution_payload(fork: Fork, blinded: bool) -> Type:
    fields = {
        "parent_hash": ROOT,
        "fee_recipient": ADDRESS,
        "state_root": ROOT,
        "receipts_root": ROOT,
        "logs_bloom": hexadecimal(256),
        "prev_randao": ROOT,
        "block_number": UINT64,
        "gas_limit": UINT64,
        "gas_used": UINT64,
        "timestamp": UINT64,
        "extra_data": BYTES,
        "base_fee_per_gas": UINT256,
        "block_hash": ROOT,
    }
    if blinded:
        fields["transactions_root"] = ROOT
    else:
        fields["transactions"] = list_of(BYTES)
    if fork >= Fork.CAPELLA and blinded:
        fields["withdrawals_root"] = ROOT
    elif fork >= Fork.CAPELLA:
        fields["withdrawals"] = list_of(WITHDRAWAL)
    if fork >= Fork.DENEB:
        fields |= {"blob_gas_used": UINT64, "excess_blob_gas": UINT64}
    return container(fields)
