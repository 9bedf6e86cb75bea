"""Finding validators by public key in a registry of any size."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from valmon_pipeline.chain.registry import ByteMatrix, ValidatorRegistry


def indices_of_pubkeys(registry: ValidatorRegistry, pubkeys: Collection[bytes]) -> dict[bytes, int]:
    """The index of each of ``pubkeys`` (48 bytes) that the registry holds."""
    rows = rows_of_pubkeys(registry.pubkey, pubkeys)
    return {key: int(registry.validator_index[row]) for key, row in rows.items()}


def rows_of_pubkeys(matrix: ByteMatrix, pubkeys: Collection[bytes]) -> dict[bytes, int]:
    """The row in ``matrix`` (n, 48) of each of ``pubkeys`` (48 bytes) that it holds.

    One pass over eight bytes of each key; only keys that agree in them are compared as a whole.
    """
    if not pubkeys or not len(matrix):
        return {}
    wanted = {bytes(key[:8]) for key in pubkeys}
    starts = np.ascontiguousarray(matrix[:, :8]).view(np.uint64).reshape(-1)
    candidates = np.flatnonzero(
        np.isin(starts, np.frombuffer(b"".join(sorted(wanted)), dtype=np.uint64))
    )
    found = {matrix[row].tobytes(): row for row in candidates.tolist()}
    return {key: found[key] for key in pubkeys if key in found}
