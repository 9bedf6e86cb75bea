"""How everybody who is watched does, and what is wrong."""

from __future__ import annotations

from typing import Final

from valmon_pipeline.observability.grafana.dashboard import (
    EPOCHS,
    NETWORK,
    Dashboard,
    Panel,
    over_time,
)

EVERYBODY: Final = "category = 'all' AND value = 'all'"
MISSED: Final = "sum(missed) FILTER (WHERE duties > 0) AS missed"
_NEWEST: Final = f"(SELECT max(epoch) FROM {NETWORK}.network_epochs)"


def _participation(flag: str) -> str:
    """Σ participating / Σ active balance of the epochs in which both are known."""
    balance = f"{flag}_participating_balance"
    known = f"FILTER (WHERE {balance} IS NOT NULL)"
    return f"sum({balance}) / nullif(sum(total_active_balance) {known}, 0) AS {flag}"


OVERVIEW: Final = Dashboard(
    "valmon-overview",
    "valmon: overview",
    [
        Panel(
            "Newest epoch",
            "stat",
            f"SELECT max(epoch) AS stored, max(epoch) FILTER (WHERE finalized) AS final\n"
            f"  FROM {NETWORK}.network_epochs WHERE epoch > {_NEWEST} - 1000",
            width=6,
            height=4,
        ),
        Panel(
            "Head, slots behind the clock",
            "stat",
            f"{EPOCHS}SELECT greatest(0, floor((extract(epoch FROM now()) - genesis_time) * 1000\n"
            f"      / slot_duration_ms) - head_slot) AS slots\n"
            f"  FROM network, {NETWORK}.chain_head,\n"
            f"       (SELECT slot_duration_ms FROM {NETWORK}.network_identity) AS slot",
            width=6,
            height=4,
        ),
        Panel(
            "Alerts that are not over",
            "stat",
            f"SELECT count(*) FILTER (WHERE severity = 'critical') AS critical,\n"
            f"       count(*) FILTER (WHERE severity = 'warning') AS warning,\n"
            f"       count(*) FILTER (WHERE severity = 'info') AS info\n"
            f"  FROM {NETWORK}.alerts WHERE status IN ('open', 'acknowledged')",
            width=6,
            height=4,
        ),
        Panel(
            "Health",
            "stat",
            f"SELECT count(*) FILTER (WHERE health = 'healthy') AS healthy,\n"
            f"       count(*) FILTER (WHERE health = 'degraded') AS degraded,\n"
            f"       count(*) FILTER (WHERE health = 'critical') AS critical,\n"
            f"       count(*) FILTER (WHERE health = 'inactive') AS inactive,\n"
            f"       count(*) FILTER (WHERE health = 'unknown') AS unknown\n"
            f"  FROM {NETWORK}.validator_standings WHERE epoch = {_NEWEST}",
            width=6,
            height=4,
        ),
        Panel(
            "Attestation and reward effectiveness",
            "timeseries",
            over_time(
                "sum(attestation_effectiveness_sum)\n"
                "    / nullif(sum(attestation_effectiveness_duties), 0) AS attestation,\n"
                "    sum(scored_reward)::float8 / nullif(sum(scored_ideal_reward), 0) AS reward",
                "epoch_summaries",
                EVERYBODY,
            ),
            unit="percentunit",
        ),
        Panel(
            "Missed attestations",
            "timeseries",
            over_time(MISSED, "epoch_summaries", EVERYBODY),
            description="Empty where no duties are known.",
        ),
        Panel(
            "Participation of the network",
            "timeseries",
            over_time(
                ",\n    ".join(map(_participation, ("target", "source", "head"))),
                "network_epochs",
            ),
            unit="percentunit",
            description="Empty where the registry was not read as a whole.",
        ),
        Panel(
            "Proposals and sync committee",
            "timeseries",
            over_time(
                "sum(proposals_due) AS due, sum(proposals_proposed) AS proposed,\n"
                "    sum(sync_due - sync_participated) AS sync_missed",
                "epoch_summaries",
                EVERYBODY,
            ),
        ),
        Panel(
            "Alerts",
            "table",
            f"SELECT opened_at, severity, status, alert_type, subject, validators,\n"
            f"       cost_gwei, message\n"
            f"  FROM {NETWORK}.alerts ORDER BY status IN ('open', 'acknowledged') DESC,\n"
            f"       opened_at DESC LIMIT 50",
            width=24,
        ),
    ],
)
