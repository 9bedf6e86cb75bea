"""What happened, as soon as it was noticed."""

from __future__ import annotations

from valmon_pipeline.frames.columns import enumeration, integer, moment, text
from valmon_pipeline.frames.contract import table

EVENT_TYPES = (
    "proposal_missed",
    "proposal_late",
    "slashed",
    "exit_initiated",
    "status_changed",
    "reorg",
)

CONTRACT = table(
    "live_events",
    "What the live service noticed: about watched validators, and reorganisations of the chain. "
    "The same event always has the same key, so that it is there once however often it is seen.",
    key=["epoch", "slot", "position"],
    partitioned=False,
    replaced_by=["epoch", "slot", "position"],
    columns={
        "epoch": integer("Epoch of the slot."),
        "slot": integer("Slot of the duty, or of the state or block in which it was seen."),
        "position": integer("Keeps the events of a slot apart; follows from type and validator."),
        "event_type": enumeration(
            "proposal_missed: the chain goes on without the block; proposal_late: the block came "
            "after half the slot; slashed; exit_initiated: will stop being active; "
            "status_changed; reorg: the chain left blocks of an earlier head behind.",
            EVENT_TYPES,
        ),
        "validator_index": integer("The validator; NULL for a reorg.", nullable=True),
        "detail": text("The event in words, with the values before and after."),
        "seen_at": moment("When it was noticed."),
    },
)
