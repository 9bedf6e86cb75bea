"""Validators as they stood at a slot."""

from __future__ import annotations

from valmon_pipeline.frames.columns import enumeration, gwei, integer
from valmon_pipeline.frames.contract import rows_are, table

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
        "status": enumeration(
            "Status by the epoch of the slot (Beacon API names); NULL where the state is not known "
            "and no later one proves it.",
            STATUSES,
            nullable=True,
        ),
        "balance": gwei("Balance in gwei; NULL where the state is not known.", nullable=True),
        "effective_balance": gwei(
            "Effective balance in gwei: what duties and rewards go by; NULL like the balance.",
            nullable=True,
        ),
    },
    checks=[
        rows_are(
            "balances_are_of_one_state",
            "balance and effective_balance are NULL together",
            lambda frame: frame["balance"].isna() == frame["effective_balance"].isna(),
        )
    ],
)
