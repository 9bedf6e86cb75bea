"""What was earned and missed, and what moved balances."""

from __future__ import annotations

from typing import Final

from valmon_pipeline.frames.balance_ledger import COMPONENTS
from valmon_pipeline.observability.grafana.dashboard import (
    EPOCHS,
    IN_TIME,
    NETWORK,
    Dashboard,
    Panel,
    over_time,
)
from valmon_pipeline.observability.grafana.groups import MISS_CAUSES
from valmon_pipeline.observability.grafana.overview import EVERYBODY
from valmon_pipeline.scoring.facts import PENALTY_TYPES

_COMPONENTS: Final = ",\n    ".join(f"sum(ledger_{one})::bigint AS {one}" for one in COMPONENTS)
_COSTS: Final = ",\n       ".join(f"sum(cost_{one})::bigint AS {one}" for one in MISS_CAUSES)
_PENALTIES: Final = ",\n    ".join(f"sum(penalty_{one})::bigint AS {one}" for one in PENALTY_TYPES)

REWARDS: Final = Dashboard(
    "valmon-rewards",
    "valmon: rewards and ledger",
    [
        Panel(
            "Attestation rewards, gwei",
            "timeseries",
            over_time(
                "sum(reward) FILTER (WHERE rewards_known > 0)::bigint AS earned,\n"
                "    sum(ideal_reward)::bigint AS ideal,\n"
                "    sum(attainable_reward)::bigint AS attainable",
                "epoch_summaries",
                EVERYBODY,
            ),
            description="Sums of what is known; valmon: pipeline shows what is not.",
        ),
        Panel(
            "Sync committee and proposals, gwei",
            "timeseries",
            over_time(
                "sum(sync_reward)::bigint AS sync, sum(proposal_reward)::bigint AS proposals",
                "epoch_summaries",
                EVERYBODY,
            ),
        ),
        Panel(
            "What misses cost, by cause, gwei",
            "table",
            f"{EPOCHS}SELECT {_COSTS}\n"
            f"  FROM {NETWORK}.epoch_summaries WHERE {EVERYBODY} AND {IN_TIME}",
            width=24,
            height=4,
        ),
        Panel(
            "Penalties, gwei",
            "timeseries",
            over_time(_PENALTIES, "epoch_summaries", EVERYBODY),
        ),
        Panel(
            "What moved balances, gwei",
            "timeseries",
            over_time(_COMPONENTS, "epoch_summaries", EVERYBODY),
            description="Sums of what is known; valmon: pipeline shows what is not.",
        ),
        Panel(
            "Balances that moved unexplained",
            "timeseries",
            over_time(
                "sum(ledger_residual_rows) FILTER (WHERE closing_balance IS NOT NULL)"
                " AS validators",
                "epoch_summaries",
                EVERYBODY,
            ),
            description="Every gwei is accounted for where it is 0; empty where no balances are "
            "known.",
        ),
        Panel(
            "Balance, gwei",
            "timeseries",
            over_time("max(closing_balance) AS balance", "epoch_summaries", EVERYBODY),
        ),
    ],
)
