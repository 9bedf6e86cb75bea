"""Who had to propose each slot's block."""

from __future__ import annotations

from valmon_pipeline.frames.blocks import SLOT_OUTCOMES
from valmon_pipeline.frames.columns import ROOT_LENGTH, binary, enumeration, integer
from valmon_pipeline.frames.contract import rows_are, table

DUTY_OUTCOMES = (*SLOT_OUTCOMES, "scheduled")
"""What became of a slot, or scheduled: stored ahead of its epoch, not judged yet."""

CONTRACT = table(
    "proposer_duties",
    "The proposer of each slot and what came of it.",
    key=["epoch", "slot"],
    columns={
        "epoch": integer("Epoch of the slot."),
        "slot": integer("The slot."),
        "validator_index": integer(
            "The validator that had to propose; NULL for a missed slot whose proposer is not "
            "known.",
            nullable=True,
        ),
        "outcome": enumeration(
            "proposed: canonical; missed: no block seen; orphaned: seen, but not canonical; "
            "scheduled: known ahead, not judged yet.",
            DUTY_OUTCOMES,
        ),
        "block_root": binary(
            "Root of the block; NULL for a missed or scheduled slot.", ROOT_LENGTH, nullable=True
        ),
    },
    checks=[
        rows_are(
            "blocks_have_a_proposer",
            "only a missed slot lacks its proposer",
            lambda frame: frame["validator_index"].notna() | (frame["outcome"] == "missed"),
        )
    ],
)
