"""Who is slashed by the end of an epoch, when flags of the epoch before are rewarded.

Source: consensus-specs, ``is_slashable_validator`` and ``slash_validator``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.registry import BoolArray, ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec


def slashed_at_end_of_epoch(
    spec: ChainSpec, epoch: int, registry: ValidatorRegistry, blocks: Sequence[Block]
) -> BoolArray:
    """Slashed flags (n) in the state at the end of ``epoch``, before its transition.

    ``registry`` is that of the state at the epoch's first slot, which already contains the block of
    that slot; ``blocks`` must include the canonical blocks of the epoch's remaining slots, others
    are ignored. A slashing names validators of whom only the slashable ones are slashed: active or
    exiting, not yet withdrawable. Named validators that the registry does not hold are ignored.
    """
    named = [
        index
        for block in blocks
        if spec.first_slot(epoch) < block.slot <= spec.last_slot(epoch)
        for index in block.slashed_indices
    ]
    is_named = np.isin(registry.validator_index, np.array(named, dtype=np.int64))
    slashable = (registry.activation_epoch <= epoch) & (epoch < registry.withdrawable_epoch)
    return registry.slashed | (is_named & slashable)
