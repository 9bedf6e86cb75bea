"""Which duties an aggregate attestation in a block fulfils.

Sources: consensus-specs, ``get_attesting_indices`` of ``specs/phase0/beacon-chain.md`` and of
``specs/electra/beacon-chain.md`` (EIP-7549).
"""

from __future__ import annotations

import numpy as np

from valmon_pipeline.chain.bits import decode_bitlist, decode_bitvector
from valmon_pipeline.chain.blocks import Attestation
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.registry import BoolArray, Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import ChainRuleViolationError


def attesting_duties(
    spec: ChainSpec, committees: Committees, attestation: Attestation, fork: Fork
) -> Int64Array:
    """Rows of the duties in ``committees`` whose bits are set; ``fork`` is the including block's.

    Before Electra an attestation names one committee by its index; since Electra ``committee_bits``
    names several, in ascending order, and ``aggregation_bits`` concatenates their members.

    Raises:
        ChainRuleViolationError: a committee that does not exist or has no bit set, or bits that are
            not as many as members. Bits are never truncated: a mismatch means that the committees
            are those of another chain.
    """
    if fork >= Fork.ELECTRA:
        index = _named_committees(spec, attestation)
    else:
        index = _single_committee(attestation)
    per_slot = committees.committees_per_slot
    if int(index[-1]) >= per_slot:
        raise _violation(
            attestation, f"names committee {int(index[-1])}, but slots have {per_slot} committees"
        )
    rows = (attestation.slot - int(committees.slot[0])) * per_slot + index
    length = committees.length[rows]
    bits = decode_bitlist(attestation.aggregation_bits)
    if len(bits) != int(length.sum()):
        raise _violation(
            attestation,
            f"has {len(bits)} aggregation bits, but committees {index.tolist()} have "
            f"{length.tolist()} members: the committees are not those of this chain",
        )
    first_bit = np.cumsum(length) - length
    if fork >= Fork.ELECTRA:
        _require_attesters(attestation, index, length, first_bit, bits)
    duty_of_bit = np.arange(len(bits)) + np.repeat(committees.offset[rows] - first_bit, length)
    attesting: Int64Array = duty_of_bit[bits]
    return attesting


def _single_committee(attestation: Attestation) -> Int64Array:
    if attestation.committee_bits is not None:
        raise _violation(attestation, "has committee_bits in a block before Electra")
    return np.array([attestation.committee_index], dtype=np.int64)


def _named_committees(spec: ChainSpec, attestation: Attestation) -> Int64Array:
    if attestation.committee_bits is None:
        raise _violation(attestation, "has no committee_bits in a block since Electra")
    if attestation.committee_index != 0:
        raise _violation(
            attestation, f"has index {attestation.committee_index}, which is 0 since Electra"
        )
    bits = decode_bitvector(attestation.committee_bits, spec.max_committees_per_slot)
    if not bits.any():
        raise _violation(attestation, "names no committee")
    return np.flatnonzero(bits)


def _require_attesters(
    attestation: Attestation,
    index: Int64Array,
    length: Int64Array,
    first_bit: Int64Array,
    bits: BoolArray,
) -> None:
    set_before = np.concatenate(([0], np.cumsum(bits)))
    silent = set_before[first_bit + length] == set_before[first_bit]
    if silent.any():
        raise _violation(
            attestation, f"names committees {index[silent].tolist()} without any of their members"
        )


def _violation(attestation: Attestation, what: str) -> ChainRuleViolationError:
    return ChainRuleViolationError(
        f"attestation of slot {attestation.slot} (block root "
        f"0x{attestation.beacon_block_root.hex()}) {what}"
    )
