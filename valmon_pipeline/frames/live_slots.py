"""What was seen of each slot while it happened."""

from __future__ import annotations

from valmon_pipeline.frames.blocks import SLOT_OUTCOMES
from valmon_pipeline.frames.columns import (
    ROOT_LENGTH,
    binary,
    enumeration,
    flag,
    integer,
    moment,
    text,
)
from valmon_pipeline.frames.contract import rows_are, table

CONTRACT = table(
    "live_slots",
    "Slots as the live service saw them. What counts in the end is in blocks: a head may still be "
    "left behind after its row here was written.",
    key=["epoch", "slot"],
    replaced_by=["epoch", "slot"],
    columns={
        "epoch": integer("Epoch of the slot."),
        "slot": integer("The slot."),
        "status": enumeration(
            "proposed: on the chain of the head; missed: a later block skips the slot; orphaned: "
            "was on the chain of an earlier head.",
            SLOT_OUTCOMES,
        ),
        "proposer_index": integer(
            "The validator whose duty the block was; NULL where no duty is known.", nullable=True
        ),
        "block_root": binary(
            "Root of the block; NULL for a missed slot.", ROOT_LENGTH, nullable=True
        ),
        "late": flag(
            "Whether the block was not there yet when half the slot had passed; NULL when nobody "
            "looked in time, or there is no block.",
            nullable=True,
        ),
        "seen_at": moment("When the slot's outcome was first seen."),
        "node": text("The beacon node that answered, without credentials."),
    },
    checks=[
        rows_are(
            "missed_has_no_block",
            "a slot has a block root unless missed",
            lambda frame: (frame["status"] == "missed") == frame["block_root"].isna(),
        )
    ],
)
