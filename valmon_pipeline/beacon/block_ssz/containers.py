"""What a signed beacon block consists of at each fork, and how long its lists may be.

Sizes that depend on the preset come from the chain's parameters. Sources: consensus-specs,
``SignedBeaconBlock`` and its parts from Phase 0 to Fulu; builder-specs, ``BlindedBeaconBlockBody``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from valmon_pipeline.beacon.ssz_container import (
    ETH1_DATA_BYTES,
    PUBKEY_BYTES,
    ROOT_BYTES,
    UINT64_BYTES,
    ContainerLayout,
    Fixed,
    Variable,
    container_layout,
)
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import UnsupportedForkError

NEWEST_FORK: Final = Fork.FULU

_SIGNATURE_BYTES: Final = 96
_ADDRESS_BYTES: Final = 20
_UINT256_BYTES: Final = 32
_LOGS_BLOOM_BYTES: Final = 256
"""BYTES_PER_LOGS_BLOOM: the execution layer's, the same on every network."""
_KZG_COMMITMENT_BYTES: Final = 48

PROPOSER_SLASHING: Final = Struct(f"<8xQ{2 * (2 * UINT64_BYTES + 3 * ROOT_BYTES + 96) - 16}x")
"""Two signed headers: the proposer of the first."""
DEPOSIT: Final = Struct(f"<{33 * ROOT_BYTES}x48s32sQ96s")
"""The branch of DEPOSIT_CONTRACT_TREE_DEPTH + 1 roots; public key, credentials, gwei, signature."""
VOLUNTARY_EXIT: Final = Struct("<8xQ96x")
"""Epoch, validator, signature."""
CREDENTIAL_CHANGE: Final = Struct(f"<Q{PUBKEY_BYTES + _ADDRESS_BYTES + _SIGNATURE_BYTES}x")
"""Validator, public key, address, signature."""
WITHDRAWAL: Final = Struct(f"<8xQ{_ADDRESS_BYTES}xQ")
"""Index, validator, address, gwei."""
DEPOSIT_REQUEST: Final = Struct("<48s32sQ96s8x")
"""Public key, credentials, gwei, signature, index."""
WITHDRAWAL_REQUEST: Final = Struct("<20s48sQ")
"""Address, public key, gwei."""
CONSOLIDATION_REQUEST: Final = Struct("<20s48s48s")
"""Address, public keys of source and target."""

_ATTESTATION_DATA: Final = "QQ32sQ32xQ32s"
"""Slot, index, block root, source (epoch, root), target (epoch, root)."""
_ATTESTATION_DATA_BYTES: Final = 2 * UINT64_BYTES + ROOT_BYTES + 2 * (UINT64_BYTES + ROOT_BYTES)

_SIGNED_BLOCK: Final = (Variable("message", 1), Fixed("signature", _SIGNATURE_BYTES))
_BLOCK: Final = (
    Fixed("slot", UINT64_BYTES),
    Fixed("proposer_index", UINT64_BYTES),
    Fixed("parent_root", ROOT_BYTES),
    Fixed("state_root", ROOT_BYTES),
    Variable("body", 1),
)
_ATTESTER_SLASHING: Final = (Variable("attestation_1", 1), Variable("attestation_2", 1))
_INDEXED_ATTESTATION: Final = (
    Variable("attesting_indices", UINT64_BYTES),
    Fixed("data", _ATTESTATION_DATA_BYTES),
    Fixed("signature", _SIGNATURE_BYTES),
)
_EXECUTION_REQUESTS: Final = (
    Variable("deposits", DEPOSIT_REQUEST.size),
    Variable("withdrawals", WITHDRAWAL_REQUEST.size),
    Variable("consolidations", CONSOLIDATION_REQUEST.size),
)


@dataclass(frozen=True, slots=True)
class ListLimit:
    """The most elements of a list, and the name of the constant that says so."""

    name: str
    most: int


@dataclass(frozen=True, slots=True)
class BlockContainers:
    """The layouts of a fork's blocks.

    ``payload`` is the payload or its header, None before Bellatrix; ``requests`` is None before
    Electra. ``attestation`` reads the fixed part of an attestation: the offset of its bits, its
    data, and since Electra its committee bits. ``limits`` are those that the node lists, by list.
    """

    signed_block: ContainerLayout
    block: ContainerLayout
    body: ContainerLayout
    payload: ContainerLayout | None
    requests: ContainerLayout | None
    attester_slashing: ContainerLayout
    indexed_attestation: ContainerLayout
    attestation: Struct
    limits: dict[str, ListLimit]


def block_containers(spec: ChainSpec, fork: Fork, *, blinded: bool = False) -> BlockContainers:
    """Return the layouts of the blocks of ``fork``.

    Raises:
        UnsupportedForkError: valmon cannot read blocks of that fork in SSZ.
    """
    if fork > NEWEST_FORK:
        raise UnsupportedForkError(
            f"blocks of fork {fork.name.lower()} cannot be read in SSZ by this version of valmon "
            f"(up to {NEWEST_FORK.name.lower()} they can); upgrade valmon"
        )
    committee_bits = f"{bitvector_bytes(spec.max_committees_per_slot)}s"
    return BlockContainers(
        signed_block=container_layout(spec, _SIGNED_BLOCK),
        block=container_layout(spec, _BLOCK),
        body=container_layout(spec, _body(fork, blinded=blinded)),
        payload=(
            container_layout(spec, _payload(fork, blinded=blinded))
            if fork >= Fork.BELLATRIX
            else None
        ),
        requests=container_layout(spec, _EXECUTION_REQUESTS) if fork >= Fork.ELECTRA else None,
        attester_slashing=container_layout(spec, _ATTESTER_SLASHING),
        indexed_attestation=container_layout(spec, _INDEXED_ATTESTATION),
        attestation=Struct(
            f"<I{_ATTESTATION_DATA}{_SIGNATURE_BYTES}x"
            + (committee_bits if fork >= Fork.ELECTRA else "")
        ),
        limits=_limits(spec, fork),
    )


def bitvector_bytes(bits: int) -> int:
    """The bytes of a bit vector of ``bits`` bits."""
    return -(-bits // 8)


def _body(fork: Fork, *, blinded: bool) -> Iterator[Fixed | Variable]:
    yield Fixed("randao_reveal", _SIGNATURE_BYTES)
    yield Fixed("eth1_data", ETH1_DATA_BYTES)
    yield Fixed("graffiti", ROOT_BYTES)
    yield Variable("proposer_slashings", PROPOSER_SLASHING.size)
    yield Variable("attester_slashings", 1)
    yield Variable("attestations", 1)
    yield Variable("deposits", DEPOSIT.size)
    yield Variable("voluntary_exits", VOLUNTARY_EXIT.size)
    if fork >= Fork.ALTAIR:
        yield Fixed("sync_committee_bits", lambda spec: bitvector_bytes(spec.sync_committee_size))
        yield Fixed("sync_committee_signature", _SIGNATURE_BYTES)
    if fork >= Fork.BELLATRIX:
        yield Variable("execution_payload_header" if blinded else "execution_payload", 1)
    if fork >= Fork.CAPELLA:
        yield Variable("bls_to_execution_changes", CREDENTIAL_CHANGE.size)
    if fork >= Fork.DENEB:
        yield Variable("blob_kzg_commitments", _KZG_COMMITMENT_BYTES)
    if fork >= Fork.ELECTRA:
        yield Variable("execution_requests", 1)


def _payload(fork: Fork, *, blinded: bool) -> Iterator[Fixed | Variable]:
    """The execution payload, or its header in a blinded block: roots instead of lists."""
    yield Fixed("parent_hash", ROOT_BYTES)
    yield Fixed("fee_recipient", _ADDRESS_BYTES)
    yield Fixed("state_root", ROOT_BYTES)
    yield Fixed("receipts_root", ROOT_BYTES)
    yield Fixed("logs_bloom", _LOGS_BLOOM_BYTES)
    yield Fixed("prev_randao", ROOT_BYTES)
    for name in ("block_number", "gas_limit", "gas_used", "timestamp"):
        yield Fixed(name, UINT64_BYTES)
    yield Variable("extra_data", 1)
    yield Fixed("base_fee_per_gas", _UINT256_BYTES)
    yield Fixed("block_hash", ROOT_BYTES)
    yield Fixed("transactions_root", ROOT_BYTES) if blinded else Variable("transactions", 1)
    if fork >= Fork.CAPELLA:
        yield (
            Fixed("withdrawals_root", ROOT_BYTES)
            if blinded
            else Variable("withdrawals", WITHDRAWAL.size)
        )
    if fork >= Fork.DENEB:
        yield Fixed("blob_gas_used", UINT64_BYTES)
        yield Fixed("excess_blob_gas", UINT64_BYTES)


def _limits(spec: ChainSpec, fork: Fork) -> dict[str, ListLimit]:
    """The limits in effect at ``fork`` of the lists that are read, as far as the node lists them.

    Plausibility bounds: without one, a list is bounded by the bytes of the answer alone.
    """
    electra = fork >= Fork.ELECTRA
    names = {
        "proposer_slashings": "MAX_PROPOSER_SLASHINGS",
        "attester_slashings": f"MAX_ATTESTER_SLASHINGS{'_ELECTRA' if electra else ''}",
        "attestations": f"MAX_ATTESTATIONS{'_ELECTRA' if electra else ''}",
        "deposits": "MAX_DEPOSITS",
        "voluntary_exits": "MAX_VOLUNTARY_EXITS",
        "bls_to_execution_changes": "MAX_BLS_TO_EXECUTION_CHANGES",
        "execution_payload.withdrawals": "MAX_WITHDRAWALS_PER_PAYLOAD",
        "execution_requests.deposits": "MAX_DEPOSIT_REQUESTS_PER_PAYLOAD",
        "execution_requests.withdrawals": "MAX_WITHDRAWAL_REQUESTS_PER_PAYLOAD",
        "execution_requests.consolidations": "MAX_CONSOLIDATION_REQUESTS_PER_PAYLOAD",
    }
    limits = {
        field: ListLimit(name, spec.block_limits[name])
        for field, name in names.items()
        if name in spec.block_limits
    }
    committee = spec.block_limits.get("MAX_VALIDATORS_PER_COMMITTEE")
    if committee is not None:
        committees = spec.max_committees_per_slot if electra else 1
        limits["attesters"] = ListLimit(
            "MAX_VALIDATORS_PER_COMMITTEE" + (" × MAX_COMMITTEES_PER_SLOT" if electra else ""),
            committee * committees,
        )
    return limits
