"""Drawing validators with a probability in proportion to their effective balances.

Sources: consensus-specs, ``compute_proposer_index`` of ``specs/phase0/beacon-chain.md`` and
``specs/electra/beacon-chain.md``, ``get_next_sync_committee_indices`` of
``specs/altair/beacon-chain.md`` and ``specs/electra/beacon-chain.md``: the same loop in each.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import numpy as np

from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.swap_or_not import shuffled_positions
from valmon_pipeline.errors import ChainRuleViolationError

_HASH_BYTES: Final = 32
_MAX_CANDIDATES: Final = 1 << 16
"""At a time, however little balance there is."""


def balance_weighted_selection(
    spec: ChainSpec,
    fork: Fork,
    active: Int64Array,
    effective_balance: Int64Array,
    seed: bytes,
    size: int,
) -> Int64Array:
    """Return the first ``size`` validators drawn; one may be drawn several times.

    ``active`` (n) are the indices of all active validators, ascending, ``effective_balance`` (n)
    theirs in gwei. Candidate i is the active validator at the shuffled position ``i % n``; it is
    taken if its share of the maximum effective balance reaches the i-th random number: of one byte
    and MAX_EFFECTIVE_BALANCE, since Electra of two bytes and MAX_EFFECTIVE_BALANCE_ELECTRA.

    Raises:
        ChainRuleViolationError: nobody is active, or nobody has any balance.
    """
    if not effective_balance.any():
        raise ChainRuleViolationError(
            f"none of {len(active)} active validators has an effective balance: the registry is "
            "not that of a running chain"
        )
    most, dtype = (
        (spec.max_effective_balance_electra, np.dtype("<u2"))
        if fork >= Fork.ELECTRA
        else (spec.max_effective_balance, np.dtype("u1"))
    )
    # A batch is as long as the draws probably need, in whole hashes.
    expected = size * most * len(active) // max(1, int(effective_balance.sum()))
    per_hash = _HASH_BYTES // dtype.itemsize
    hashes = min(expected * 5 // 4 + 64, _MAX_CANDIDATES) // per_hash + 1
    taken: list[Int64Array] = []
    found, start = 0, 0
    while found < size:
        candidates = np.arange(start * per_hash, (start + hashes) * per_hash, dtype=np.int64)
        rows = shuffled_positions(spec, candidates % len(active), len(active), seed)
        random = _random_values(seed, start, hashes, dtype)
        accepted = effective_balance[rows] * np.iinfo(dtype).max >= most * random
        taken.append(active[rows[accepted]])
        found += len(taken[-1])
        start += hashes
    return np.concatenate(taken)[:size]


def _random_values(
    seed: bytes, start: int, hashes: int, dtype: np.dtype[np.unsignedinteger[Any]]
) -> Int64Array:
    """The random numbers of some consecutive hashes, as many as each holds."""
    source = b"".join(
        sha256(seed + number.to_bytes(8, "little")).digest()
        for number in range(start, start + hashes)
    )
    return np.frombuffer(source, dtype).astype(np.int64)
