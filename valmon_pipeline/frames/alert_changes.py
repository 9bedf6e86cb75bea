"""What happened to each alert."""

from __future__ import annotations

from valmon_pipeline.alerting.kinds import ChangeKind
from valmon_pipeline.frames.columns import enumeration, integer, long_integer, moment, text
from valmon_pipeline.frames.contract import table

CONTRACT = table(
    "alert_changes",
    "Every change of every alert, with time and reason.",
    key=["alert_id", "position"],
    partitioned=False,
    columns={
        "alert_id": long_integer("The alert."),
        "position": integer("Counts the changes of the alert."),
        "change": enumeration(
            "opened; worsened: twice as many validators, or another event; acknowledged; resolved; "
            "retracted.",
            [one.value for one in ChangeKind],
        ),
        "reason": text("Why, in words."),
        "at": moment("When."),
    },
)
