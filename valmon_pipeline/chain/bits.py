"""The two SSZ bit fields of blocks: bitlists (aggregation bits) and bitvectors (committee bits).

Source: consensus-specs, ``ssz/simple-serialize.md``, "Bitvector[N]" and "Bitlist[N]".
"""

from __future__ import annotations

import numpy as np

from valmon_pipeline.chain.registry import BoolArray
from valmon_pipeline.errors import ChainRuleViolationError


def decode_bitlist(data: bytes) -> BoolArray:
    """The bits of an SSZ bitlist, first bit first; the highest set bit marks the length.

    Raises:
        ChainRuleViolationError: no byte at all, or no marker in the last one.
    """
    if not data or data[-1] == 0:
        raise ChainRuleViolationError(
            f"bitlist 0x{data.hex()} has no length marker: its last byte must not be zero"
        )
    length = 8 * (len(data) - 1) + data[-1].bit_length() - 1
    return _unpack(data)[:length]


def decode_bitvector(data: bytes, length: int) -> BoolArray:
    """The ``length`` bits of an SSZ bitvector, first bit first.

    Raises:
        ChainRuleViolationError: too few or too many bytes, or a bit set beyond ``length``.
    """
    if len(data) != (length + 7) // 8:
        raise ChainRuleViolationError(
            f"bitvector 0x{data.hex()} has {len(data)} bytes, expected {(length + 7) // 8} for "
            f"{length} bits"
        )
    bits = _unpack(data)
    if bits[length:].any():
        raise ChainRuleViolationError(
            f"bitvector 0x{data.hex()} has bits set beyond its {length} bits"
        )
    return bits[:length]


def _unpack(data: bytes) -> BoolArray:
    return np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little").astype(np.bool_)
