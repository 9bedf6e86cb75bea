"""Validators as they stood at a slot."""

from __future__ import annotations

from valmon_pipeline.frames.columns import enumeration, gwei, integer
from valmon_pipeline.frames.contract import table

STATUSES = (
    "pending_initialized",
    "pending_queued",
    "active_ongoing",
    "active_exiting",
    "active_slashed",
    "exited_unslashed",
    "exited_slashed",
    "withdrawal_possible",
    "withdrawal_done",
)
"""The nine statuses of the Beacon API."""

CONTRACT = table(
    "validator_snapshots",
    "Status and balances in the state after a slot: the first slot of the epoch and of the next "
    "one, plus slots followed live.",
    key=["epoch", "slot", "validator_index"],
    replaced_by=["epoch", "slot"],
    columns={
        "epoch": integer("The epoch the snapshot was taken for."),
        "slot": integer("The slot whose state it shows, after that slot's block if there is one."),
        "validator_index": integer("The validator."),
        "status": enumeration("Status by the epoch of the slot (Beacon API names).", STATUSES),
        "balance": gwei("Balance in gwei."),
        "effective_balance": gwei("Effective balance in gwei: what duties and rewards go by."),
    },
)
