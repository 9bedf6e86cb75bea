"""What each validator's attestation earned."""

from __future__ import annotations

import pandas as pd

from valmon_pipeline.frames.columns import gwei, integer
from valmon_pipeline.frames.contract import rows_are, table


def _total_is_sum(frame: pd.DataFrame) -> pd.Series:
    components = frame["source_reward"] + frame["target_reward"] + frame["head_reward"]
    components = components - frame["inactivity_penalty"]
    known = (frame["total_reward"] == components).fillna(False).astype(bool)
    return known | frame["total_reward"].isna() & components.isna()


def _ideal_total_is_sum(frame: pd.DataFrame) -> pd.Series:
    components = frame["ideal_source"] + frame["ideal_target"] + frame["ideal_head"]
    known = (frame["ideal_total"] == components).fillna(False).astype(bool)
    unknown = frame[["ideal_source", "ideal_target", "ideal_head", "ideal_total"]].isna()
    return known | unknown.all(axis=1)


def _attainable_total_is_sum(frame: pd.DataFrame) -> pd.Series:
    parts = ["attainable_source", "attainable_target", "attainable_head"]
    components = frame[parts[0]] + frame[parts[1]] + frame[parts[2]]
    known = (frame["attainable_total"] == components).fillna(False).astype(bool)
    return known | frame["attainable_total"].isna() & frame[parts].isna().any(axis=1)


def _missed_is_ideal_less_earned(frame: pd.DataFrame) -> pd.Series:
    kept = pd.Series(True, index=frame.index)
    for component in ("source", "target", "head"):
        lost = frame[f"ideal_{component}"] - frame[f"{component}_reward"]
        missed = frame[f"missed_{component}"]
        kept &= (missed == lost).fillna(False).astype(bool) | (missed.isna() & lost.isna())
    return kept


CONTRACT = table(
    "attestation_rewards",
    "Rewards for the attestations with this target epoch, as credited one epoch later, next to "
    "what was possible; NULL where it is not known. There are rows only where the state at the "
    "first slot of the next epoch is known. All amounts are gwei.",
    key=["epoch", "validator_index"],
    columns={
        "epoch": integer("Target epoch of the attestation."),
        "validator_index": integer("The validator."),
        "effective_balance": gwei(
            "Effective balance the reward goes by: that of the following epoch."
        ),
        "source_reward": gwei(
            "Reward for the source vote; negative is a penalty.", nullable=True, signed=True
        ),
        "target_reward": gwei(
            "Reward for the target vote; negative is a penalty.", nullable=True, signed=True
        ),
        "head_reward": gwei(
            "Reward for the head vote; there is no penalty.", nullable=True, signed=True
        ),
        "inactivity_penalty": gwei("Inactivity penalty, as a positive amount.", nullable=True),
        "total_reward": gwei(
            "source + target + head − inactivity_penalty; NULL where one of them is.",
            nullable=True,
            signed=True,
        ),
        "ideal_source": gwei(
            "Source reward of a perfect attestation; NULL when the network's totals are unknown.",
            nullable=True,
        ),
        "ideal_target": gwei("Target reward of a perfect attestation.", nullable=True),
        "ideal_head": gwei("Head reward of a perfect attestation.", nullable=True),
        "ideal_total": gwei("ideal_source + ideal_target + ideal_head.", nullable=True),
        "attainable_total": gwei(
            "The most that the blocks of the window still allowed: the sum of the next three "
            "columns; NULL where one of them is.",
            nullable=True,
            signed=True,
        ),
        "attainable_source": gwei(
            "The most that the blocks of the window still allowed: ideal where a timely inclusion "
            "was possible, the penalty where it was not; NULL when the network's totals are "
            "unknown.",
            nullable=True,
            signed=True,
        ),
        "attainable_target": gwei("The same for the target vote.", nullable=True, signed=True),
        "attainable_head": gwei("The same for the head vote.", nullable=True, signed=True),
        "missed_source": gwei(
            "ideal_source − source_reward: what was lost.", nullable=True, signed=True
        ),
        "missed_target": gwei("ideal_target − target_reward.", nullable=True, signed=True),
        "missed_head": gwei("ideal_head − head_reward.", nullable=True, signed=True),
    },
    checks=[
        rows_are(
            "total_is_sum",
            "total_reward = source + target + head − inactivity_penalty, or NULL where one of "
            "them is",
            _total_is_sum,
        ),
        rows_are(
            "ideal_total_is_sum",
            "ideal_total = ideal_source + ideal_target + ideal_head, or all are NULL",
            _ideal_total_is_sum,
        ),
        rows_are(
            "attainable_total_is_sum",
            "attainable_total = attainable_source + attainable_target + attainable_head, or NULL "
            "where one of them is",
            _attainable_total_is_sum,
        ),
        rows_are(
            "missed_is_ideal_less_earned",
            "missed = ideal − reward, per component, or NULL where one of them is",
            _missed_is_ideal_less_earned,
        ),
    ],
)
