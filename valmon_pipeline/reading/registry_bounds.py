"""Validators that answers name must exist: one that does not is a wrong answer, not a row."""

from __future__ import annotations

import numpy as np

from valmon_pipeline.chain.registry import Int64Array, ValidatorRegistry
from valmon_pipeline.errors import MalformedAnswerError


def require_whole(registry: ValidatorRegistry, node: str, state: int | str) -> None:
    """Refuse the registry of ``state`` if it has gaps: sums over the network would be too small.

    Raises:
        MalformedAnswerError: it is empty, or an index below its highest is missing.
    """
    indices = registry.validator_index
    if len(indices) == 0 or int(indices[-1]) != len(indices) - 1:
        gap = int(np.argmax(np.append(indices, -1) != np.arange(len(indices) + 1)))
        raise MalformedAnswerError(
            f"GET /eth/v1/beacon/states/{state}/validators of {node}: the registry has "
            f"{len(indices)} rows, but validator index {gap} is not among them; ask another node"
        )


def require_known(
    field: str, node: str, indices: Int64Array, registry: ValidatorRegistry, slot: int
) -> None:
    """Refuse validator indices beyond the whole registry of ``slot``.

    ``field`` names the request and the field that the indices come from.

    Raises:
        MalformedAnswerError: an index is that of a validator that does not exist.
    """
    beyond = indices[indices >= len(registry)]
    if len(beyond):
        raise MalformedAnswerError(
            f"{field} of {node}: {int(beyond[0])} is beyond the registry of {len(registry)} "
            f"validators in the state of slot {slot} ({len(beyond)} such); ask another node"
        )
