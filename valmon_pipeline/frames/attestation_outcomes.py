"""What became of each attestation duty."""

from __future__ import annotations

import pandas as pd

from valmon_pipeline.frames.columns import enumeration, flag, gwei, integer
from valmon_pipeline.frames.contract import rows_are, table
from valmon_pipeline.scoring.miss_causes import MissCause

MISS_CAUSES = tuple(cause.value for cause in MissCause)


def _inclusion_is_complete(frame: pd.DataFrame) -> pd.Series:
    return (frame["included"] == frame["inclusion_slot"].notna()) & (
        frame["included"] == frame["inclusion_delay"].notna()
    )


def _delay_counts_from_duty(frame: pd.DataFrame) -> pd.Series:
    delay = frame["inclusion_slot"] - frame["slot"]
    return (delay == frame["inclusion_delay"]).fillna(True).astype(bool)


def _flags_need_inclusion(frame: pd.DataFrame) -> pd.Series:
    flags = ["target_correct", "head_correct", "source_timely", "target_timely", "head_timely"]
    return frame["included"] | ~frame[flags].any(axis=1)


def _causes_need_a_loss(frame: pd.DataFrame) -> pd.Series:
    # Slashed validators lose the rewards of flags that they earned.
    missed = ~frame[["source_timely", "target_timely", "head_timely"]].all(axis=1)
    return missed | frame["miss_cause"].isna() | (frame["miss_cause"] == MissCause.SLASHED.value)


CONTRACT = table(
    "attestation_outcomes",
    "How each attestation duty ended, judged against the canonical chain.",
    key=["epoch", "validator_index"],
    columns={
        "epoch": integer("Epoch of the duty."),
        "validator_index": integer("The validator."),
        "slot": integer("Slot to attest to."),
        "included": flag("Whether any canonical block within the window carries the attestation."),
        "inclusion_slot": integer("Slot of the first such block; NULL when missed.", nullable=True),
        "inclusion_delay": integer(
            "inclusion_slot − slot, at least 1; NULL when missed.", nullable=True
        ),
        "earliest_inclusion_slot": integer(
            "First canonical block after the duty's slot: the best possible inclusion; NULL when "
            "the window holds no block, so that nothing could be included.",
            nullable=True,
        ),
        "target_correct": flag("Voted for the canonical target."),
        "head_correct": flag("Voted for the canonical target and head."),
        "source_timely": flag("Earned TIMELY_SOURCE."),
        "target_timely": flag("Earned TIMELY_TARGET."),
        "head_timely": flag("Earned TIMELY_HEAD."),
        "miss_cause": enumeration(
            "Why it earned less than a perfect attestation, the weightiest cause; NULL when all "
            "three flags were earned, and where the registry is not known and slashing or exit "
            "might be the cause. See docs/accounting.md.",
            MISS_CAUSES,
            nullable=True,
        ),
        "cost": gwei(
            "What that cost: ideal less earned source, target and head reward, in gwei; NULL where "
            "one of them is unknown.",
            nullable=True,
            signed=True,
        ),
    },
    checks=[
        rows_are(
            "inclusion_is_complete",
            "inclusion_slot and inclusion_delay are set exactly when included",
            _inclusion_is_complete,
        ),
        rows_are(
            "delay_counts_from_duty",
            "inclusion_delay = inclusion_slot − slot",
            _delay_counts_from_duty,
        ),
        rows_are(
            "flags_need_inclusion",
            "nothing is correct or timely that was not included",
            _flags_need_inclusion,
        ),
        rows_are(
            "causes_need_a_loss",
            "miss_cause is set only where a flag was not earned, or was lost by a slashing",
            _causes_need_a_loss,
        ),
    ],
)
