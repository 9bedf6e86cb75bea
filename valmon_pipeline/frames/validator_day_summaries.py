"""A day of each validator in one row."""

from __future__ import annotations

from valmon_pipeline.frames.columns import day, flag, gwei, integer
from valmon_pipeline.frames.contract import table
from valmon_pipeline.frames.sums import SUM_CHECKS, sum_columns

CONTRACT = table(
    "validator_day_summaries",
    "Sums over the epochs of each UTC day, per validator: what is left when the epochs themselves "
    "are dropped. Ratios are made from these sums, never averaged. An epoch belongs to the day its "
    "first slot starts in. Amounts are gwei.",
    key=["day", "validator_index"],
    partitioned=False,
    replaced_by=["day"],
    columns={
        "day": day("The UTC day."),
        "validator_index": integer("The validator."),
        "epochs": integer("Epochs of the day that are summed up."),
        "complete": flag("Whether these are all epochs of the day."),
        "incomplete_epochs": integer(
            "How many of these epochs lack a fact: sums are over what is known of them."
        ),
        "finalized": flag("Whether all of them were final."),
        **sum_columns(),
        "opening_balance": gwei(
            "Balance at the beginning of the first epoch that is summed up and has a ledger; NULL "
            "without one.",
            nullable=True,
        ),
        "closing_balance": gwei(
            "Balance at the end of the last one; on a complete day without incomplete epochs, "
            "opening_balance and the ledger's components and residual.",
            nullable=True,
        ),
    },
    checks=SUM_CHECKS,
)
