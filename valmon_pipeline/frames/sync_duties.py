"""Sync committee duties of an epoch, per validator."""

from __future__ import annotations

from valmon_pipeline.frames.columns import integer
from valmon_pipeline.frames.contract import rows_are, table

CONTRACT = table(
    "sync_duties",
    "Signatures each member of the sync committee owed during the epoch; one seat owes one per "
    "block.",
    key=["epoch", "validator_index"],
    columns={
        "epoch": integer("The epoch."),
        "validator_index": integer("The member."),
        "seats": integer("Seats it holds; a validator may hold several."),
        "due": integer("Signatures owed: seats × canonical blocks of the epoch."),
        "participated": integer("Signatures that blocks carry."),
        "missed": integer("Signatures that blocks lack."),
    },
    checks=[
        rows_are(
            "due_is_participated_or_missed",
            "due = participated + missed",
            lambda frame: frame["due"] == frame["participated"] + frame["missed"],
        )
    ],
)
