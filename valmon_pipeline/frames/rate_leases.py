"""Which processes ask each beacon node."""

from __future__ import annotations

from valmon_pipeline.frames.columns import integer, moment, real, text
from valmon_pipeline.frames.contract import table

CONTRACT = table(
    "rate_leases",
    "The last lease of tokens that each process took from a node's bucket. Those of the last "
    "seconds share the node; others are deleted after an hour.",
    key=["node", "lessee"],
    partitioned=False,
    columns={
        "node": text("The node's name, or its address without secrets."),
        "lessee": text("The process: its host, its id, and a random part."),
        "tokens": real("Requests that it may send."),
        "in_flight": integer("The most requests it had under way since its lease before."),
        "leased_at": moment("When it took them, by the database's clock."),
    },
)
