"""What the sums of days were made from."""

from __future__ import annotations

from valmon_pipeline.frames.columns import day, enumeration, moment
from valmon_pipeline.frames.contract import table

DAY_TABLES = ("validator_day_summaries", "network_validator_days")

CONTRACT = table(
    "summed_days",
    "What state of its epochs a UTC day was summed up from, written in the transaction that writes "
    "the sums. An epoch that is stored again later makes the day due again, and until then it is "
    "not dropped.",
    key=["day", "sums"],
    partitioned=False,
    columns={
        "day": day("The UTC day."),
        "sums": enumeration("The table with its sums.", DAY_TABLES),
        "stored_at": moment(
            "The newest network_epochs.materialized_at of its epochs before they were read."
        ),
    },
)
