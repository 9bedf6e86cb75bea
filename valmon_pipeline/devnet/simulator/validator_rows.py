"""Validators of a state as rows of JSON: written column by column, because there are many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from valmon_pipeline.chain.epochs import FAR_FUTURE_EPOCH, NEVER
from valmon_pipeline.devnet.simulator.history import SlotRecord
from valmon_pipeline.devnet.simulator.state import Int64Array

_EPOCHS: Final = (
    "activation_eligibility_epoch",
    "activation_epoch",
    "exit_epoch",
    "withdrawable_epoch",
)


def statuses(record: SlotRecord, epoch: int) -> list[str]:
    """The status of everybody (n) in a state of ``epoch``, as the Beacon API defines it."""
    activation, leaving = record.column("activation_epoch"), record.column("exit_epoch")
    withdrawable = record.column("withdrawable_epoch")
    slashed = record.column("slashed")
    pending = activation > epoch
    active = ~pending & (epoch < leaving)
    exited = ~pending & ~active & (epoch < withdrawable)
    never_queued = record.column("activation_eligibility_epoch") == NEVER
    found: list[str] = np.select(
        [
            pending & never_queued,
            pending,
            active & (leaving == NEVER),
            active & slashed,
            active,
            exited & slashed,
            exited,
            record.column("effective_balance") > 0,
        ],
        [
            "pending_initialized",
            "pending_queued",
            "active_ongoing",
            "active_slashed",
            "active_exiting",
            "exited_slashed",
            "exited_unslashed",
            "withdrawal_possible",
        ],
        default="withdrawal_done",
    ).tolist()
    return found


def validator_rows(
    record: SlotRecord, epoch: int, pubkeys: Callable[[int], list[str]], rows: Int64Array
) -> list[msgspec.Raw]:
    """The ``rows`` of ``states/{state_id}/validators``; ``pubkeys`` as ``NodeView.pubkeys``."""
    keys, status = pubkeys(len(record)), statuses(record, epoch)
    credentials = record.column("withdrawal_credentials")[rows].tobytes().hex()
    columns = zip(
        rows.tolist(),
        record.column("balance")[rows].tolist(),
        record.column("effective_balance")[rows].tolist(),
        record.column("slashed")[rows].tolist(),
        *(_epoch_texts(record.column(name)[rows]) for name in _EPOCHS),
        strict=True,
    )
    return [
        msgspec.Raw(
            (
                f'{{"index":"{index}","balance":"{balance}","status":"{status[index]}",'
                f'"validator":{{"pubkey":"{keys[index]}",'
                f'"withdrawal_credentials":"0x{credentials[64 * at : 64 * at + 64]}",'
                f'"effective_balance":"{effective}","slashed":{"true" if slashed else "false"},'
                f'"activation_eligibility_epoch":"{eligibility}",'
                f'"activation_epoch":"{activation}","exit_epoch":"{leaving}",'
                f'"withdrawable_epoch":"{withdrawable}"}}}}'
            ).encode()
        )
        for at, (
            index,
            balance,
            effective,
            slashed,
            eligibility,
            activation,
            leaving,
            withdrawable,
        ) in enumerate(columns)
    ]


def epoch_text(epoch: int) -> str:
    """An epoch as the API writes it."""
    return str(FAR_FUTURE_EPOCH if epoch == NEVER else epoch)


def _epoch_texts(epochs: Int64Array) -> list[str]:
    return [epoch_text(epoch) for epoch in epochs.tolist()]
