"""Validators that alerts are about."""

from __future__ import annotations

from valmon_pipeline.frames.columns import integer, long_integer
from valmon_pipeline.frames.contract import table

CONTRACT = table(
    "alert_validators",
    "The validators of each alert, as of the newest epoch in which it was found. Alerts about sums "
    "or about valmon itself have none.",
    key=["alert_id", "validator_index"],
    partitioned=False,
    columns={
        "alert_id": long_integer("The alert."),
        "validator_index": integer("A validator that it is about."),
    },
)
