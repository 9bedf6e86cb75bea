"""Validator status, activity and eligibility as functions of the registry and an epoch.

Sources: the status definitions of the beacon APIs; consensus-specs, ``is_active_validator`` and
``get_eligible_validator_indices``.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.registry import BoolArray, ValidatorRegistry

Int8Array = npt.NDArray[np.int8]


class ValidatorStatus(StrEnum):
    """The nine statuses under their API names; ``code`` is the position in this list."""

    PENDING_INITIALIZED = "pending_initialized"
    PENDING_QUEUED = "pending_queued"
    ACTIVE_ONGOING = "active_ongoing"
    ACTIVE_EXITING = "active_exiting"
    ACTIVE_SLASHED = "active_slashed"
    EXITED_UNSLASHED = "exited_unslashed"
    EXITED_SLASHED = "exited_slashed"
    WITHDRAWAL_POSSIBLE = "withdrawal_possible"
    WITHDRAWAL_DONE = "withdrawal_done"

    @property
    def code(self) -> int:
        """The small integer that ``validator_status`` uses for this status."""
        return list(ValidatorStatus).index(self)


def validator_status(registry: ValidatorRegistry, epoch: int) -> Int8Array:
    """Status codes (n) of the registry's validators at ``epoch``, see ``ValidatorStatus.code``.

    Whether a withdrawal is done is decided by the effective balance, as most clients do.
    """
    pending = registry.activation_epoch > epoch
    active = ~pending & (epoch < registry.exit_epoch)
    exited = ~pending & ~active & (epoch < registry.withdrawable_epoch)
    conditions = {
        ValidatorStatus.PENDING_INITIALIZED: pending
        & (registry.activation_eligibility_epoch == NEVER),
        ValidatorStatus.PENDING_QUEUED: pending,
        ValidatorStatus.ACTIVE_ONGOING: active & (registry.exit_epoch == NEVER),
        ValidatorStatus.ACTIVE_SLASHED: active & registry.slashed,
        ValidatorStatus.ACTIVE_EXITING: active,
        ValidatorStatus.EXITED_SLASHED: exited & registry.slashed,
        ValidatorStatus.EXITED_UNSLASHED: exited,
        ValidatorStatus.WITHDRAWAL_POSSIBLE: registry.effective_balance > 0,
    }
    codes = np.select(
        list(conditions.values()),
        [status.code for status in conditions],
        default=ValidatorStatus.WITHDRAWAL_DONE.code,
    )
    return codes.astype(np.int8)


def is_active(registry: ValidatorRegistry, epoch: int) -> BoolArray:
    """Whether each validator (n) is active in ``epoch``; slashed ones are until they exit."""
    return (registry.activation_epoch <= epoch) & (epoch < registry.exit_epoch)


def is_eligible(registry: ValidatorRegistry, epoch: int) -> BoolArray:
    """Whether each validator (n) gets rewards or penalties for attestations of target ``epoch``.

    Active in ``epoch``, or slashed and not yet withdrawable in ``epoch + 1``, at whose end they are
    applied: the registry must be that of ``epoch + 1`` with ``slashed`` as of its end, see
    ``chain.slashings``.
    """
    lingering = registry.slashed & (epoch + 1 < registry.withdrawable_epoch)
    return is_active(registry, epoch) | lingering
