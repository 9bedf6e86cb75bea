"""Validators that answers name must exist: one that does not is a wrong answer, not a row."""

from __future__ import annotations

import numpy as np

from valmon_pipeline.chain.registry import Int64Array, ValidatorRegistry
from valmon_pipeline.errors import ChainRuleViolationError, MalformedAnswerError


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


def require_known(what: str, indices: Int64Array, registry: ValidatorRegistry) -> None:
    """Refuse validator indices beyond a whole registry. ``what`` names where they come from.

    Raises:
        ChainRuleViolationError: an index is that of a validator that does not exist: the registry
            or the answer is wrong.
    """
    beyond = indices[indices >= len(registry)]
    if len(beyond):
        raise ChainRuleViolationError(
            f"{what}: validator {int(beyond[0])} is beyond the registry of {len(registry)} "
            f"validators ({len(beyond)} such); ask another node"
        )
