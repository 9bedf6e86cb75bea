"""What is or was wrong: one row per alert."""

from __future__ import annotations

from valmon_pipeline.alerting.kinds import AlertStatus, Severity
from valmon_pipeline.frames.columns import enumeration, gwei, integer, long_integer, moment, text
from valmon_pipeline.frames.contract import rows_are, table

CONTRACT = table(
    "alerts",
    "Alerts as they are now. There is at most one of each type and subject that is open or "
    "acknowledged. What happened to each is in alert_changes.",
    key=["alert_id"],
    partitioned=False,
    columns={
        "alert_id": long_integer("Ascending in the order in which alerts were opened."),
        "alert_type": text("The rule, see docs/alerts.md."),
        "severity": enumeration("How bad.", [one.value for one in Severity]),
        "subject": text("validator:7; a label, e.g. operator:a; or node, data, pipeline."),
        "labels": text("Labels that all its validators have, joined by line breaks."),
        "validators": integer(
            "How many validators, see alert_validators; 0 for an alert about sums or about valmon "
            "itself."
        ),
        "told_validators": integer("How many it had when it was last told of."),
        "epoch": integer("Epoch it was opened on."),
        "since_epoch": integer("First of the bad epochs in a row."),
        "last_epoch": integer("Newest epoch in which it was found."),
        "slot": integer("Slot it happened in; NULL when it is about epochs.", nullable=True),
        "message": text("What is wrong."),
        "cost_gwei": gwei("What it cost so far, as far as known."),
        "status": enumeration(
            "open; acknowledged: somebody has seen it; resolved: it is over; retracted: it was "
            "not so.",
            [one.value for one in AlertStatus],
        ),
        "opened_at": moment("When it was opened."),
        "acknowledged_at": moment("When it was acknowledged.", nullable=True),
        "resolved_at": moment("When it was resolved or retracted.", nullable=True),
        "resolution": text("Why it was resolved or retracted.", nullable=True),
    },
    checks=[
        rows_are(
            "since_before_last",
            "since_epoch ≤ epoch ≤ last_epoch",
            lambda frame: (
                (frame["since_epoch"] <= frame["epoch"]) & (frame["epoch"] <= frame["last_epoch"])
            ),
        )
    ],
)
