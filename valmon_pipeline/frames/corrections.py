"""What changed in stored rows, and why."""

from __future__ import annotations

from valmon_pipeline.frames.columns import integer, long_integer, moment, text
from valmon_pipeline.frames.contract import table

CONTRACT = table(
    "corrections",
    "Every value of an epoch that came out differently when the epoch was materialized again. A "
    "row that appeared or went has one entry per column.",
    key=["correction_id"],
    partitioned=False,
    columns={
        "correction_id": long_integer("Ascending in the order of the corrections."),
        "table_name": text("The table whose row changed."),
        "epoch": integer("Epoch of that row."),
        "slot": integer("Slot of that row; NULL if its key has none.", nullable=True),
        "validator_index": integer(
            "Validator of that row; NULL if its key has none.", nullable=True
        ),
        "column_name": text("The column that changed."),
        "old_value": text("Value before; NULL if it was NULL or the row is new.", nullable=True),
        "new_value": text("Value since; NULL if it is NULL or the row is gone.", nullable=True),
        "reason": text("Why the epoch was materialized again, e.g. reorg."),
        "at": moment("When the change was stored."),
    },
)
