"""When nobody wants to be told of what."""

from __future__ import annotations

from valmon_pipeline.frames.columns import long_integer, moment, text
from valmon_pipeline.frames.contract import rows_are, table

CONTRACT = table(
    "alert_silences",
    "Times in which alerts are recorded but not delivered: those that meet every condition given. "
    "What is still wrong at the end is delivered then.",
    key=["silence_id"],
    partitioned=False,
    columns={
        "silence_id": long_integer("Ascending in the order in which silences were made."),
        "subject": text(
            "A label that all validators of the alert have, or its subject; NULL: any.",
            nullable=True,
        ),
        "alert_type": text("The rule; NULL: any.", nullable=True),
        "starts_at": moment("Since when."),
        "ends_at": moment("Until when; brought forward when it is ended by hand."),
        "reason": text("Why, and who says so."),
    },
    checks=[
        rows_are(
            "ends_after_start",
            "ends_at is not before starts_at",
            lambda frame: frame["starts_at"] <= frame["ends_at"],
        ),
    ],
)
