"""Messages to be sent, and those that were."""

from __future__ import annotations

from valmon_pipeline.alerting.kinds import Severity
from valmon_pipeline.frames.columns import enumeration, integer, long_integer, moment, text
from valmon_pipeline.frames.contract import table

DELIVERY_STATUSES = ("pending", "sent", "dead", "cancelled")
DELIVERY_KINDS = (
    *("opened", "worsened", "resolved", "retracted"),
    *("digest", "heartbeat", "test"),
)

CONTRACT = table(
    "alert_deliveries",
    "The outbox: a row per message and channel, written in the transaction of the change that it "
    "tells of, and sent at least once.",
    key=["delivery_id"],
    partitioned=False,
    columns={
        "delivery_id": long_integer("Ascending in the order of the messages."),
        "delivery_key": text("The same message to the same channel has the same key, once."),
        "channel": text("Name of the channel in the configuration."),
        "alert_id": long_integer("The alert; 0 for what is about none."),
        "kind": enumeration("What is told.", DELIVERY_KINDS),
        "severity": enumeration(
            "Severity of the alert; info for what is about none.", [one.value for one in Severity]
        ),
        "title": text("First line of the message."),
        "body": text("The message."),
        "status": enumeration(
            "pending; sent; dead: given up after too many attempts; cancelled: overtaken before "
            "anybody was told of it.",
            DELIVERY_STATUSES,
        ),
        "attempts": integer("How often it was tried."),
        "next_attempt_at": moment(
            "Not tried before: under way, after a failure, or during a silence."
        ),
        "last_error": text("Why the last attempt failed.", nullable=True),
        "created_at": moment("When the message was written."),
        "sent_at": moment("When it was accepted.", nullable=True),
    },
)
