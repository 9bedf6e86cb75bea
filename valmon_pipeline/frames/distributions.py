"""The columns of distributions: quantiles over validators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandera.pandas as pa

from valmon_pipeline.frames.columns import ratio
from valmon_pipeline.scoring.ranking import QUANTILES


def quantile_names(score: str) -> Iterator[str]:
    """The names of the columns that hold the quantiles of a score."""
    return (f"{score}_p{percent:02d}" for percent in QUANTILES)


def quantile_columns() -> Mapping[str, pa.Column]:
    """The columns, in the order of the tables."""
    rewards = {
        name: ratio(
            f"Reward effectiveness that {percent} % of the validators do not exceed; NULL in an "
            "inactivity leak.",
            minimum=None,
            maximum=None,
        )
        for name, percent in zip(quantile_names("reward_effectiveness"), QUANTILES, strict=True)
    }
    attestations = {
        name: ratio(f"Attestation effectiveness that {percent} % of the validators do not exceed.")
        for name, percent in zip(
            quantile_names("attestation_effectiveness"), QUANTILES, strict=True
        )
    }
    return rewards | attestations
