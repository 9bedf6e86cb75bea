"""Which epochs the rules have been applied to."""

from __future__ import annotations

from valmon_pipeline.frames.columns import integer, moment
from valmon_pipeline.frames.contract import table

CONTRACT = table(
    "alert_evaluations",
    "Epochs that the rules have been applied to, written in the transaction that writes the alerts "
    "about them. An epoch is evaluated again when it is stored again. Epochs that were too old to "
    "page anybody are not here.",
    key=["epoch"],
    partitioned=False,
    columns={
        "epoch": integer("The epoch."),
        "materialized_at": moment("network_epochs.materialized_at of the rows evaluated."),
        "at": moment("When."),
        "findings": integer("How many subjects something was wrong with."),
        "changes": integer("How many alerts were opened or changed."),
    },
)
