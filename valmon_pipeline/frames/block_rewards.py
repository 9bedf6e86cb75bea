"""What proposers earned for their blocks."""

from __future__ import annotations

import pandas as pd

from valmon_pipeline.frames.blocks import SLOT_OUTCOMES
from valmon_pipeline.frames.columns import enumeration, gwei, integer
from valmon_pipeline.frames.contract import rows_are, table


def _total_is_sum(frame: pd.DataFrame) -> pd.Series:
    parts = ["attestations", "sync_aggregate", "proposer_slashings", "attester_slashings"]
    return frame["total"] == frame[parts].sum(axis=1)


CONTRACT = table(
    "block_rewards",
    "Consensus rewards of watched proposers, and what they missed. All amounts are gwei.",
    key=["epoch", "slot"],
    columns={
        "epoch": integer("Epoch of the slot."),
        "slot": integer("Slot of the block."),
        "proposer_index": integer("The validator that proposed it, or whose duty it was."),
        "total": gwei("Sum of the parts."),
        "attestations": gwei("For attestations included."),
        "sync_aggregate": gwei("For sync committee signatures included."),
        "proposer_slashings": gwei("For proposer slashings included."),
        "attester_slashings": gwei("For attester slashings included."),
        "outcome": enumeration(
            "What became of the proposal; what is not proposed earned nothing.", SLOT_OUTCOMES
        ),
        "missed_estimate": gwei(
            "About what a proposal that is not canonical would have earned: the lower median of up "
            "to four blocks on each side, without slashings; NULL for proposed ones.",
            nullable=True,
        ),
    },
    checks=[rows_are("total_is_sum", "total is the sum of its parts", _total_is_sum)],
)
