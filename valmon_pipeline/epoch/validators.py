"""Group ``validators``: who the validators are, and how they stood at the ends of an epoch."""

from __future__ import annotations

import numpy as np
import pandas as pd

from valmon_pipeline.chain.credentials import BLS_PREFIX, COMPOUNDING_PREFIX, EXECUTION_PREFIX
from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.life_cycles import UNPROVEN, existed, proven_status
from valmon_pipeline.chain.registry import Int64Array, ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.status import validator_status
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.frames.conform import conform, empty_frame

# The first byte of the withdrawal credentials (consensus-specs, EIP-7251) to the contract's names.
_CREDENTIAL_TYPES = {
    BLS_PREFIX: "bls",
    EXECUTION_PREFIX: "execution",
    COMPOUNDING_PREFIX: "compounding",
}


def validator_snapshots_frame(spec: ChainSpec, answers: EpochAnswers) -> pd.DataFrame:
    """Frame ``validator_snapshots``: the watched validators at the first slots of E and E+1.

    Where a registry is not known, a later one shows who was there, and proves some statuses.
    """
    epoch, at_end = answers.epoch, answers.registry_at_end
    snapshots = [
        _snapshot(spec, answers, answers.registry_at_start, at_end or answers.life_cycles, epoch),
        _snapshot(spec, answers, at_end, answers.life_cycles, epoch + 1),
    ]
    return pd.concat(snapshots, ignore_index=True)


def _snapshot(
    spec: ChainSpec,
    answers: EpochAnswers,
    registry: ValidatorRegistry | None,
    later: ValidatorRegistry | None,
    state_epoch: int,
) -> pd.DataFrame:
    """The state at the first slot of ``state_epoch``: its ``registry``, or what a later proves."""
    if registry is not None:
        status = np.ma.MaskedArray(validator_status(registry, state_epoch))
        rows = np.isin(registry.validator_index, answers.watched)
    elif later is not None:
        registry = later
        status = np.ma.masked_equal(proven_status(later, state_epoch), UNPROVEN)
        rows = np.isin(later.validator_index, answers.watched) & existed(later, state_epoch)
    else:
        return empty_frame("validator_snapshots")
    unknown = np.full(len(registry), registry is later)
    count = int(rows.sum())
    return conform(
        "validator_snapshots",
        {
            "epoch": np.full(count, answers.epoch),
            "slot": np.full(count, spec.first_slot(state_epoch)),
            "validator_index": registry.validator_index[rows],
            "status": status[rows],
            "balance": np.ma.array(registry.balance, mask=unknown)[rows],
            "effective_balance": np.ma.array(registry.effective_balance, mask=unknown)[rows],
        },
    )


def validators_frame(registry: ValidatorRegistry) -> pd.DataFrame:
    """Frame ``validators``: identity and life cycle of every validator of ``registry``."""
    prefix = registry.withdrawal_credentials[:, 0]
    kind = np.full(len(registry), "unknown", dtype=object)
    for byte, name in _CREDENTIAL_TYPES.items():
        kind[prefix == byte] = name

    def epochs(values: Int64Array) -> np.ma.MaskedArray[tuple[int], np.dtype[np.int64]]:
        return np.ma.masked_equal(values, NEVER)

    return conform(
        "validators",
        {
            "validator_index": registry.validator_index,
            "pubkey": registry.pubkey,
            "withdrawal_credentials": registry.withdrawal_credentials,
            "credential_type": kind,
            "slashed": registry.slashed,
            "activation_eligibility_epoch": epochs(registry.activation_eligibility_epoch),
            "activation_epoch": epochs(registry.activation_epoch),
            "exit_epoch": epochs(registry.exit_epoch),
            "withdrawable_epoch": epochs(registry.withdrawable_epoch),
        },
    )
