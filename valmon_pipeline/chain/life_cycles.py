"""What the registry of a later state proves about an earlier epoch.

Epochs of a life cycle are set once: a later state has those that were set earlier, and some that
were not set yet. Nobody is unslashed again. Sources: consensus-specs, ``process_registry_updates``,
``initiate_validator_exit``, ``slash_validator``.
"""

from __future__ import annotations

import numpy as np

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.registry import BoolArray, ValidatorRegistry
from valmon_pipeline.chain.status import Int8Array, ValidatorStatus

UNPROVEN = -1
"""Stands for a status that a later state does not prove."""


def existed(later: ValidatorRegistry, epoch: int) -> BoolArray:
    """Validators (n) that the state at the first slot of ``epoch`` proves to have held.

    A validator is eligible since the transition that noticed its balance, and existed before it.
    Without that, it may have been created later.
    """
    held: BoolArray = later.activation_eligibility_epoch <= epoch
    return held


def proven_status(later: ValidatorRegistry, epoch: int) -> Int8Array:
    """Status codes (n) at ``epoch`` as far as a later registry proves them; else ``UNPROVEN``.

    An exit or a slashing that shows later may not have been there yet. The end of withdrawals goes
    by the effective balance, of which a later state says nothing.
    """
    pending = existed(later, epoch) & (later.activation_epoch > epoch)
    active = (later.activation_epoch <= epoch) & (epoch < later.exit_epoch)
    exited = (later.exit_epoch <= epoch) & (epoch < later.withdrawable_epoch)
    proven = {
        ValidatorStatus.PENDING_QUEUED: pending,
        ValidatorStatus.ACTIVE_ONGOING: active & (later.exit_epoch == NEVER),
        ValidatorStatus.EXITED_UNSLASHED: exited & ~later.slashed,
    }
    codes = np.select(list(proven.values()), [status.code for status in proven], default=UNPROVEN)
    return codes.astype(np.int8)
