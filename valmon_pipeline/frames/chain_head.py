"""Where the chain is: what the node last said."""

from __future__ import annotations

from valmon_pipeline.frames.columns import ROOT_LENGTH, binary, flag, integer, moment, text
from valmon_pipeline.frames.contract import rows_are, table

CONTRACT = table(
    "chain_head",
    "Head and finality of the chain as the beacon node last reported them: one row, replaced at "
    "each look.",
    key=["only_row"],
    partitioned=False,
    columns={
        "only_row": flag("Always true: the key that keeps this table at one row."),
        "head_slot": integer("Slot of the head block."),
        "head_root": binary("Root of the head block.", ROOT_LENGTH),
        "head_epoch": integer("Epoch of the head block's slot."),
        "justified_epoch": integer("Current justified epoch in the head state."),
        "finalized_epoch": integer("Finalized epoch in the head state."),
        "node": text("The beacon node that answered, without credentials."),
        "is_optimistic": flag("Whether the node had not verified the head's execution payload."),
        "seen_at": moment("When the node answered."),
    },
    checks=[rows_are("one_row", "only_row is true", lambda frame: frame["only_row"])],
)
