"""What each validator's attestation earned."""

from __future__ import annotations

import pandas as pd

from valmon_pipeline.frames.columns import gwei, integer
from valmon_pipeline.frames.contract import rows_are, table


def _total_is_sum(frame: pd.DataFrame) -> pd.Series:
    components = frame["source_reward"] + frame["target_reward"] + frame["head_reward"]
    return frame["total_reward"] == components - frame["inactivity_penalty"]


def _ideal_total_is_sum(frame: pd.DataFrame) -> pd.Series:
    components = frame["ideal_source"] + frame["ideal_target"] + frame["ideal_head"]
    known = (frame["ideal_total"] == components).fillna(False).astype(bool)
    unknown = frame[["ideal_source", "ideal_target", "ideal_head", "ideal_total"]].isna()
    return known | unknown.all(axis=1)


CONTRACT = table(
    "attestation_rewards",
    "Rewards for the attestations with this target epoch, as credited one epoch later, next to "
    "what was possible. All amounts are gwei.",
    key=["epoch", "validator_index"],
    columns={
        "epoch": integer("Target epoch of the attestation."),
        "validator_index": integer("The validator."),
        "effective_balance": gwei(
            "Effective balance the reward goes by: that of the following epoch."
        ),
        "source_reward": gwei("Reward for the source vote; negative is a penalty.", signed=True),
        "target_reward": gwei("Reward for the target vote; negative is a penalty.", signed=True),
        "head_reward": gwei("Reward for the head vote; there is no penalty.", signed=True),
        "inactivity_penalty": gwei("Inactivity penalty, as a positive amount."),
        "total_reward": gwei("source + target + head − inactivity_penalty.", signed=True),
        "ideal_source": gwei(
            "Source reward of a perfect attestation; NULL when the network's totals are unknown.",
            nullable=True,
        ),
        "ideal_target": gwei("Target reward of a perfect attestation.", nullable=True),
        "ideal_head": gwei("Head reward of a perfect attestation.", nullable=True),
        "ideal_total": gwei("ideal_source + ideal_target + ideal_head.", nullable=True),
        "attainable_total": gwei(
            "The most that the blocks of the window still allowed: ideal where a timely inclusion "
            "was possible, the penalty where it was not; NULL when the network's totals are "
            "unknown.",
            nullable=True,
            signed=True,
        ),
    },
    checks=[
        rows_are(
            "total_is_sum",
            "total_reward = source + target + head − inactivity_penalty",
            _total_is_sum,
        ),
        rows_are(
            "ideal_total_is_sum",
            "ideal_total = ideal_source + ideal_target + ideal_head, or all are NULL",
            _ideal_total_is_sum,
        ),
    ],
)
