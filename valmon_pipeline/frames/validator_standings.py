"""How each validator stands after an epoch, by the epochs before it."""

from __future__ import annotations

import pandas as pd

from valmon_pipeline.frames.columns import enumeration, flag, integer, ratio, text
from valmon_pipeline.frames.contract import rows_are, table
from valmon_pipeline.scoring.health import Health


def _reasons_where_not_healthy(frame: pd.DataFrame) -> pd.Series:
    return (frame["health"] != Health.HEALTHY.value) == frame["health_reasons"].notna()


CONTRACT = table(
    "validator_standings",
    "How each validator stands after an epoch: a pure function of the stored facts of a window of "
    "epochs that ends with it, made again whenever an epoch of the window is stored.",
    key=["epoch", "validator_index"],
    columns={
        "epoch": integer("The epoch, the newest of the window."),
        "validator_index": integer("The validator."),
        "time_weighted_score": ratio(
            "Mean of the window's epoch scores, a half-life ago counted half: "
            "attainable_effectiveness, or attestation_effectiveness where that is NULL; NULL when "
            "nothing could be judged. Negative when penalties prevail.",
            minimum=None,
            maximum=None,
        ),
        "missed_streak": integer(
            "Attestations missed in a row up to the newest duty in the window; those that no block "
            "could carry, or missed in the last epoch before the exit, neither count nor end it."
        ),
        "health": enumeration("The verdict.", [health.value for health in Health]),
        "health_reasons": text(
            "Why, as codes joined by commas: pending, exited, slashed, no_duty, missed_streak:5, "
            "duties_unknown, score_below:0.9, leak; NULL when healthy.",
            nullable=True,
        ),
        "window_epochs": integer("Stored epochs in the window whose duties are known."),
        "window_complete": flag("Whether these are all epochs of the window."),
        "formula_version": integer("Version of the formulas the row was computed with."),
    },
    checks=[
        rows_are(
            "reasons_where_not_healthy",
            "health_reasons are given exactly when not healthy",
            _reasons_where_not_healthy,
        ),
        rows_are(
            "streak_within_window",
            "missed_streak ≤ window_epochs",
            lambda frame: frame["missed_streak"] <= frame["window_epochs"],
        ),
    ],
)
