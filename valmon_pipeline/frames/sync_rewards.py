"""What sync committee members earned in an epoch."""

from __future__ import annotations

from valmon_pipeline.frames.columns import gwei, integer
from valmon_pipeline.frames.contract import table

CONTRACT = table(
    "sync_rewards",
    "Sync committee rewards of the epoch's blocks, summed per validator. All amounts are gwei.",
    key=["epoch", "validator_index"],
    columns={
        "epoch": integer("The epoch."),
        "validator_index": integer("The member."),
        "reward": gwei(
            "Earned over all its seats; negative when it missed more; NULL where the rewards of "
            "one of the epoch's blocks are not known.",
            nullable=True,
            signed=True,
        ),
        "ideal_reward": gwei(
            "Had it signed every block; NULL when the network's totals are unknown.", nullable=True
        ),
        "seats": integer(
            "Seats it holds: what each block pays or takes for all of them is summed."
        ),
        "seat_reward": gwei(
            "What a seat earns in a block if it signed, and pays if not; NULL when unknown.",
            nullable=True,
        ),
    },
)
