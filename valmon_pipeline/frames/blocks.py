"""What became of each slot."""

from __future__ import annotations

from valmon_pipeline.frames.columns import ROOT_LENGTH, binary, enumeration, integer
from valmon_pipeline.frames.contract import rows_are, table

SLOT_OUTCOMES = ("proposed", "missed", "orphaned")
"""proposed: a block of this slot is on the canonical chain; missed: no block was seen; orphaned: a
block was seen that the chain left behind."""

CONTRACT = table(
    "blocks",
    "Slots of the epoch and their canonical blocks.",
    key=["epoch", "slot"],
    columns={
        "epoch": integer("Epoch of the slot."),
        "slot": integer("The slot."),
        "status": enumeration(
            "proposed: canonical; missed: no block seen; orphaned: seen, but not canonical.",
            SLOT_OUTCOMES,
        ),
        "proposer_index": integer(
            "The validator whose duty the block was; NULL where no duty is known.", nullable=True
        ),
        "block_root": binary(
            "Root of the canonical block, or of the orphaned one; NULL for a missed slot.",
            ROOT_LENGTH,
            nullable=True,
        ),
        "parent_root": binary("Root of that block's parent.", ROOT_LENGTH, nullable=True),
        "attestation_count": integer("Attestation aggregates in the block.", nullable=True),
        "sync_participants": integer(
            "Seats of the sync committee that signed; NULL without a block or before Altair.",
            nullable=True,
        ),
    },
    checks=[
        rows_are(
            "proposed_has_root",
            "a slot has block and parent roots if proposed, and none if missed",
            lambda frame: (
                (frame["status"] == "orphaned")
                | (
                    (frame["block_root"].notna() == (frame["status"] == "proposed"))
                    & (frame["parent_root"].notna() == (frame["status"] == "proposed"))
                )
            ),
        )
    ],
)
