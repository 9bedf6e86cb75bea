"""One validator: its days, its newest epochs, and what happened to it."""

from __future__ import annotations

from typing import Final

from valmon_pipeline.observability.grafana.dashboard import (
    NETWORK,
    Dashboard,
    Panel,
    Variable,
)
from valmon_pipeline.observability.grafana.dashboard import (
    VALIDATOR as INDEX,
)

RECENT_EPOCHS: Final = 225
_DAYS: Final = (
    f"FROM {NETWORK}.validator_day_summaries\n"
    f" WHERE validator_index = {INDEX} AND day BETWEEN $__timeFrom()::timestamptz::date\n"
    "       AND $__timeTo()::timestamptz::date ORDER BY day"
)
# The newest epochs first, then one probe of the key for each.
_RECENT: Final = (
    f"(SELECT epoch FROM {NETWORK}.network_epochs ORDER BY epoch DESC LIMIT {RECENT_EPOCHS})"
    " AS newest"
)

VALIDATOR: Final = Dashboard(
    "valmon-validator",
    "valmon: validator",
    [
        Panel(
            "Who it is",
            "table",
            "SELECT validator_index, '0x' || encode(pubkey, 'hex') AS pubkey, credential_type,\n"
            "       slashed, activation_epoch, exit_epoch,\n"
            "       (SELECT string_agg(category || ':' || value, ', ' ORDER BY category)\n"
            f"          FROM {NETWORK}.validator_labels l\n"
            "         WHERE l.validator_index = v.validator_index AND until_epoch IS NULL)"
            " AS labels\n"
            f"  FROM {NETWORK}.validators v WHERE validator_index = {INDEX}",
            width=24,
            height=4,
        ),
        Panel(
            "Effectiveness by day",
            "timeseries",
            "SELECT day::timestamptz AS time, attestation_effectiveness_sum\n"
            "       / nullif(attestation_effectiveness_duties, 0) AS attestation,\n"
            f"       scored_reward::float8 / nullif(scored_ideal_reward, 0) AS reward {_DAYS}",
            unit="percentunit",
            description="Days that are over and summed up.",
        ),
        Panel(
            "Rewards by day, gwei",
            "timeseries",
            "SELECT day::timestamptz AS time,\n"
            "       CASE WHEN rewards_known > 0 THEN reward END AS attestations,\n"
            "       sync_reward AS sync, proposal_reward AS proposals,\n"
            f"       CASE WHEN rewards_known > 0 THEN missed_reward END AS missed {_DAYS}",
            description="Sums of what is known.",
        ),
        Panel(
            "Balance at the end of each day, gwei",
            "timeseries",
            f"SELECT day::timestamptz AS time, closing_balance AS balance {_DAYS}",
        ),
        Panel(
            "Missed by day",
            "timeseries",
            "SELECT day::timestamptz AS time, CASE WHEN duties > 0 THEN missed END"
            " AS attestations,\n"
            "       sync_due - sync_participated AS sync,\n"
            f"       proposals_due - proposals_proposed AS proposals {_DAYS}",
        ),
        Panel(
            f"Its newest {RECENT_EPOCHS} epochs",
            "table",
            "SELECT o.epoch, o.slot, o.included, o.inclusion_delay, o.miss_cause,\n"
            "       s.attestation_effectiveness, s.reward_effectiveness,\n"
            "       t.missed_streak, t.health\n"
            f"  FROM {_RECENT}\n"
            f"  JOIN {NETWORK}.attestation_outcomes o ON o.epoch = newest.epoch\n"
            f"       AND o.validator_index = {INDEX}\n"
            f"  LEFT JOIN {NETWORK}.effectiveness_scores s ON s.epoch = newest.epoch\n"
            f"       AND s.validator_index = {INDEX}\n"
            f"  LEFT JOIN {NETWORK}.validator_standings t ON t.epoch = newest.epoch\n"
            f"       AND t.validator_index = {INDEX}\n"
            " ORDER BY o.epoch DESC",
            width=24,
        ),
    ],
    [Variable("validator", "Validator index", default="0")],
    since="now-30d",
)
