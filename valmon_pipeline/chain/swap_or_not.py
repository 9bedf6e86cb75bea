"""The swap-or-not shuffle: of a whole list, and of single positions.

Source: consensus-specs, ``compute_shuffled_index`` of ``specs/phase0/beacon-chain.md``. Each round
pairs position i with ``pivot - i`` (modulo the list's length) and lets one bit of a hash, looked up
by the larger of the two, say whether they change places.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import numpy as np
import numpy.typing as npt

from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.spec import ChainSpec

_POSITIONS_PER_HASH: Final = 256
_PIVOT_BYTES: Final = 8


def shuffled(spec: ChainSpec, indices: Int64Array, seed: bytes) -> Int64Array:
    """Return ``indices`` (n) shuffled by ``seed``: entry j is that of ``compute_shuffled_index`` j.

    A round applied to all positions at once swaps two stretches of the list with their own mirror
    images, 0 … pivot and pivot + 1 … n - 1; the rounds run backwards, since the specification
    follows positions and this moves what lies in them.

    Raises:
        ChainRuleViolationError: the node does not list SHUFFLE_ROUND_COUNT.
    """
    count = len(indices)
    if not count:
        return indices.copy()
    position = np.arange(count, dtype=np.uint32)
    for number in reversed(range(_round_count(spec))):
        round_seed = seed + bytes([number])
        pivot = _pivot(round_seed, count)
        source = b"".join(
            sha256(round_seed + block.to_bytes(4, "little")).digest()
            for block in range(-(-count // _POSITIONS_PER_HASH))
        )
        bits = np.unpackbits(np.frombuffer(source, np.uint8), count=count, bitorder="little")
        _swap_with_mirror_image(position[: pivot + 1], bits[: pivot + 1])
        _swap_with_mirror_image(position[pivot + 1 :], bits[pivot + 1 :])
    return indices[position]


def shuffled_positions(
    spec: ChainSpec, position: Int64Array, count: int, seed: bytes
) -> Int64Array:
    """Return ``compute_shuffled_index`` of some positions (m) in a list of ``count``.

    Cheaper than ``shuffled`` while m is much less than ``count``: only the hashes that the
    positions look up are made.

    Raises:
        ChainRuleViolationError: the node does not list SHUFFLE_ROUND_COUNT.
    """
    position = position.copy()
    for number in range(_round_count(spec)):
        round_seed = seed + bytes([number])
        mirrored = (_pivot(round_seed, count) - position) % count
        decisive = np.maximum(position, mirrored)
        blocks, row = np.unique(decisive // _POSITIONS_PER_HASH, return_inverse=True)
        source = b"".join(
            sha256(round_seed + block.to_bytes(4, "little")).digest() for block in blocks.tolist()
        )
        bits = np.unpackbits(np.frombuffer(source, np.uint8), bitorder="little")
        swaps = bits[row * _POSITIONS_PER_HASH + decisive % _POSITIONS_PER_HASH] != 0
        position = np.where(swaps, mirrored, position)
    return position


def _round_count(spec: ChainSpec) -> int:
    return spec.required(
        "shuffle_round_count", "committees and proposers cannot be computed from a state"
    )


def _pivot(round_seed: bytes, count: int) -> int:
    return int.from_bytes(sha256(round_seed).digest()[:_PIVOT_BYTES], "little") % count


def _swap_with_mirror_image(stretch: npt.NDArray[np.uint32], bits: npt.NDArray[np.uint8]) -> None:
    """Exchange entries with their counterparts from the other end where the latter's bit is set."""
    half = len(stretch) // 2
    low, high = stretch[:half], stretch[len(stretch) - half :][::-1]
    # All ones where the bit is set: the difference of a pair, or nothing, is applied to both.
    mask = -bits[len(stretch) - half :][::-1].astype(np.uint32)
    difference = (low ^ high) & mask
    low ^= difference
    high ^= difference
