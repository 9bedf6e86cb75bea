"""What the asset checks found, epoch by epoch."""

from __future__ import annotations

from valmon_pipeline.frames.columns import enumeration, flag, integer, moment, text
from valmon_pipeline.frames.contract import table

SEVERITIES = ("warning", "error")

CONTRACT = table(
    "check_results",
    "Latest result of each check for each epoch. Dagster keeps one result per run, not per epoch.",
    key=["epoch", "check_name"],
    partitioned=False,
    # Facts and scores are checked, and stored, one after the other.
    replaced_by=["epoch", "check_name"],
    columns={
        "epoch": integer("The epoch that was checked."),
        "check_name": text("Asset and check, e.g. attestation_rewards.rewards_within_ideal."),
        "passed": flag(
            "True if it passed; NULL if there was nothing to compare, which says nothing.",
            nullable=True,
        ),
        "severity": enumeration("How bad a failure is.", SEVERITIES),
        "failing_count": integer("Rows that failed."),
        "detail": text(
            "What failed, with examples, or why nothing was compared; empty when it passed."
        ),
        "at": moment("When the check ran."),
    },
)
