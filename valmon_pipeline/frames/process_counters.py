"""What valmon's processes have counted, for the metrics."""

from __future__ import annotations

from valmon_pipeline.frames.columns import real, text
from valmon_pipeline.frames.contract import table

CONTRACT = table(
    "process_counters",
    "What all processes have counted and measured since the tables were made: requests to nodes, "
    "waits, rows written. Each process adds what it counted since it last did.",
    key=["metric", "labels"],
    partitioned=False,
    columns={
        "metric": text("The sample's name in the metrics."),
        "labels": text("Its labels, as JSON with sorted keys."),
        "value": real("The count, or the sum in seconds."),
    },
)
