"""How the groups of a label compare."""

from __future__ import annotations

from typing import Final

from valmon_pipeline.frames.sums import SUM_NAMES
from valmon_pipeline.observability.grafana.dashboard import (
    CATEGORY,
    EPOCHS,
    IN_TIME,
    NETWORK,
    Dashboard,
    Panel,
    Variable,
    over_time,
)
from valmon_pipeline.observability.grafana.overview import MISSED

MISS_CAUSES: Final = tuple(
    name.removeprefix("misses_") for name in SUM_NAMES if name.startswith("misses_")
)
_IN_CATEGORY: Final = f"category = {CATEGORY} AND value <> ''"
_CAUSES: Final = ",\n       ".join(f"sum(misses_{cause}) AS {cause}" for cause in MISS_CAUSES)

_POINTS: Final = 300
"""There is a line per group."""

CATEGORIES: Final = Variable(
    "category",
    "Label",
    f"SELECT DISTINCT category FROM {NETWORK}.validator_labels ORDER BY 1",
)

GROUPS: Final = Dashboard(
    "valmon-groups",
    "valmon: groups",
    [
        Panel(
            "Attestation effectiveness",
            "timeseries",
            over_time(
                "sum(attestation_effectiveness_sum)\n"
                "    / nullif(sum(attestation_effectiveness_duties), 0) AS effectiveness",
                "epoch_summaries",
                _IN_CATEGORY,
                also="value",
            ),
            unit="percentunit",
            points=_POINTS,
        ),
        Panel(
            "Missed attestations",
            "timeseries",
            over_time(MISSED, "epoch_summaries", _IN_CATEGORY, also="value"),
            points=_POINTS,
        ),
        Panel(
            "Totals of the chosen time",
            "table",
            f"{EPOCHS}SELECT value AS group, max(validators) AS validators,\n"
            "       sum(duties) AS duties, sum(missed) AS missed,\n"
            "       sum(attestation_effectiveness_sum)\n"
            "         / nullif(sum(attestation_effectiveness_duties), 0) AS effectiveness,\n"
            "       sum(scored_reward)::float8 / nullif(sum(scored_ideal_reward), 0) AS of_ideal,\n"
            "       sum(reward) FILTER (WHERE rewards_known > 0)::bigint AS reward_gwei,\n"
            "       sum(missed_reward) FILTER (WHERE rewards_known > 0)::bigint AS missed_gwei,\n"
            "       sum(rewards_known) AS rewards_known\n"
            f"  FROM {NETWORK}.epoch_summaries WHERE {_IN_CATEGORY} AND {IN_TIME}\n"
            " GROUP BY 1 ORDER BY 1",
            width=24,
        ),
        Panel(
            "Why attestations fell short",
            "table",
            f"{EPOCHS}SELECT value AS group,\n       {_CAUSES}\n"
            f"  FROM {NETWORK}.epoch_summaries WHERE {_IN_CATEGORY} AND {IN_TIME}\n"
            " GROUP BY 1 ORDER BY 1",
            width=24,
        ),
    ],
    [CATEGORIES],
)
