"""Group ``validators``: who the validators are, and how they stood at the ends of an epoch."""

from __future__ import annotations

import numpy as np
import pandas as pd

from valmon_pipeline.chain.credentials import BLS_PREFIX, COMPOUNDING_PREFIX, EXECUTION_PREFIX
from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.registry import Int64Array, ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.status import ValidatorStatus, validator_status
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.frames.conform import conform

# The first byte of the withdrawal credentials (consensus-specs, EIP-7251) to the contract's names.
_CREDENTIAL_TYPES = {
    BLS_PREFIX: "bls",
    EXECUTION_PREFIX: "execution",
    COMPOUNDING_PREFIX: "compounding",
}


def validator_snapshots_frame(spec: ChainSpec, answers: EpochAnswers) -> pd.DataFrame:
    """Frame ``validator_snapshots``: the watched validators at the first slots of E and E+1."""
    snapshots = [
        _snapshot(
            answers, answers.registry_at_start, spec.first_slot(answers.epoch), answers.epoch
        ),
        _snapshot(
            answers, answers.registry_at_end, spec.first_slot(answers.epoch + 1), answers.epoch + 1
        ),
    ]
    return pd.concat(snapshots, ignore_index=True)


def _snapshot(
    answers: EpochAnswers, registry: ValidatorRegistry, slot: int, state_epoch: int
) -> pd.DataFrame:
    ours = np.isin(registry.validator_index, answers.watched)
    names = np.array([status.value for status in ValidatorStatus])
    return conform(
        "validator_snapshots",
        {
            "epoch": np.full(int(ours.sum()), answers.epoch),
            "slot": np.full(int(ours.sum()), slot),
            "validator_index": registry.validator_index[ours],
            "status": names[validator_status(registry, state_epoch)[ours]],
            "balance": registry.balance[ours],
            "effective_balance": registry.effective_balance[ours],
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
