"""Attestations and blocks made for tests: valid by the rules, with chosen voters."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from valmon_pipeline.chain.blocks import Attestation, Block, BlockHeader
from valmon_pipeline.chain.forks import Fork

WRONG_ROOT = b"\xff" * 32


def root_of(slot: int) -> bytes:
    """The root of the block made for a slot."""
    return b"\x01" + slot.to_bytes(31, "big")


def bitlist(bits: Sequence[bool]) -> bytes:
    """SSZ encoding of a list of bits."""
    number = sum(bit << i for i, bit in enumerate([*bits, True]))
    return number.to_bytes(len(bits) // 8 + 1, "little")


def committee_bits(committees: Collection[int], size: int) -> bytes:
    """SSZ bitvector of ``size`` bits that names some committees."""
    return sum(1 << index for index in committees).to_bytes((size + 7) // 8, "little")


def attestation(
    slot: int,
    bits: Sequence[bool],
    *,
    target_epoch: int,
    target_root: bytes,
    head_root: bytes,
    committee_index: int = 0,
    committees: Collection[int] | None = None,
    max_committees: int = 4,
) -> Attestation:
    """An aggregate of one committee, or, given ``committees``, in the form of Electra."""
    return Attestation(
        slot=slot,
        committee_index=committee_index,
        beacon_block_root=head_root,
        source_epoch=max(0, target_epoch - 1),
        target_epoch=target_epoch,
        target_root=target_root,
        aggregation_bits=bitlist(bits),
        committee_bits=None if committees is None else committee_bits(committees, max_committees),
    )


def chain_of(
    forks: Mapping[int, Fork], attestations: Mapping[int, Sequence[Attestation]], parent: int
) -> tuple[list[BlockHeader], list[Block]]:
    """Headers and blocks for the slots of ``forks``, ascending, after the block of ``parent``."""
    headers, blocks = [], []
    for slot, fork in sorted(forks.items()):
        headers.append(BlockHeader(slot, root_of(slot), root_of(parent), 0))
        blocks.append(
            Block(
                slot=slot,
                proposer_index=0,
                parent_root=root_of(parent),
                fork=fork,
                attestations=tuple(attestations.get(slot, ())),
                sync_committee_bits=None,
            )
        )
        parent = slot
    return headers, blocks
