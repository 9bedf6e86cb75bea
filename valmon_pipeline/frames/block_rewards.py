"""What proposers earned for their blocks."""

from __future__ import annotations

import pandas as pd

from valmon_pipeline.frames.blocks import SLOT_OUTCOMES
from valmon_pipeline.frames.columns import enumeration, gwei, integer
from valmon_pipeline.frames.contract import rows_are, table


def _total_is_sum(frame: pd.DataFrame) -> pd.Series:
    parts = ["attestations", "sync_aggregate", "proposer_slashings", "attester_slashings"]
    total = frame[parts].sum(axis=1, skipna=False)
    known = (frame["total"] == total).fillna(False).astype(bool)
    unknown = frame["total"].isna() & total.isna() & (frame["outcome"] == "proposed")
    return known | unknown


CONTRACT = table(
    "block_rewards",
    "Consensus rewards of watched proposers, and what they missed. NULL where the reward of a "
    "block is not known. All amounts are gwei.",
    key=["epoch", "slot"],
    columns={
        "epoch": integer("Epoch of the slot."),
        "slot": integer("Slot of the block."),
        "proposer_index": integer("The validator that proposed it, or whose duty it was."),
        "total": gwei("Sum of the parts; NULL where one of them is.", nullable=True),
        "attestations": gwei("For attestations included.", nullable=True),
        "sync_aggregate": gwei("For sync committee signatures included.", nullable=True),
        "proposer_slashings": gwei("For proposer slashings included.", nullable=True),
        "attester_slashings": gwei("For attester slashings included.", nullable=True),
        "outcome": enumeration(
            "What became of the proposal; what is not proposed earned nothing.", SLOT_OUTCOMES
        ),
        "missed_estimate": gwei(
            "About what a proposal that is not canonical would have earned: the lower median of up "
            "to four blocks on each side, without slashings; NULL for proposed ones, and where the "
            "reward of one of these blocks is not known.",
            nullable=True,
        ),
    },
    checks=[
        rows_are(
            "total_is_sum",
            "total is the sum of its parts; only what a canonical block earned may be NULL",
            _total_is_sum,
        )
    ],
)
