"""The parts of a beacon block that duties, rewards and events are computed from."""

from __future__ import annotations

from dataclasses import dataclass

from valmon_pipeline.chain.forks import Fork


@dataclass(frozen=True, slots=True)
class Attestation:
    """One aggregate attestation as a block carries it.

    ``committee_bits`` is None before Electra. Both bit fields are the raw SSZ bytes; see
    ``chain.bits`` for their encodings.
    """

    slot: int
    committee_index: int
    beacon_block_root: bytes
    source_epoch: int
    target_epoch: int
    target_root: bytes
    aggregation_bits: bytes
    committee_bits: bytes | None


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """A block header together with the root that identifies the block."""

    slot: int
    root: bytes
    parent_root: bytes
    proposer_index: int


@dataclass(frozen=True, slots=True)
class Block:
    """A beacon block. ``sync_committee_bits`` is None before Altair.

    ``slashed_indices`` are the validators that the block's proposer and attester slashings name:
    for an attester slashing those present in both attestations.
    """

    slot: int
    proposer_index: int
    parent_root: bytes
    fork: Fork
    attestations: tuple[Attestation, ...]
    sync_committee_bits: bytes | None
    slashed_indices: tuple[int, ...]
