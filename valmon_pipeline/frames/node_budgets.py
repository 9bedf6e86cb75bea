"""What each beacon node may be sent at the moment."""

from __future__ import annotations

from valmon_pipeline.frames.columns import moment, real, text
from valmon_pipeline.frames.contract import table

CONTRACT = table(
    "node_budgets",
    "The token bucket of each beacon node, shared by all processes that ask it. A request takes a "
    "token; tokens are refilled at the node's rate limit.",
    key=["node"],
    partitioned=False,
    columns={
        "node": text("The node's name, or its address without secrets."),
        "tokens": real(
            "Tokens at `refilled_at`; negative: leased before they were refilled.", minimum=None
        ),
        "refilled_at": moment("When they were counted, by the database's clock."),
    },
)
