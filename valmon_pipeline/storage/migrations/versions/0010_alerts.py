"""Alerts, what happened to them, and which epochs they were looked for in."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TYPES = (
    "'missed_attestations', 'missed_attestation_share', 'low_effectiveness', 'below_network', "
    "'missed_proposal', 'sync_participation', 'slashing', 'exit', 'balance_drop', "
    "'ledger_residual', 'node_unhealthy', 'data_late', 'pipeline_stalled'"
)
NEW_TABLES = ("alert_evaluations", "alert_changes", "alerts")


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _integers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer(), nullable=False) for name in names]


def _moments(*names: str, nullable: bool = False) -> list[sa.Column[datetime]]:
    return [sa.Column(name, sa.DateTime(timezone=True), nullable=nullable) for name in names]


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)


def _one_of(table: str, column: str, values: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{column} IN ({values})", name=op.f(f"ck_{table}_{column}"))


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    op.create_table(
        "alerts",
        _key("alert_id"),
        *_text("alert_type", "severity", "subject", "labels", "validator_indices"),
        *_integers("validators", "told_validators", "epoch", "since_epoch", "last_epoch"),
        sa.Column("slot", sa.Integer(), nullable=True),
        *_text("message"),
        sa.Column("cost_gwei", sa.BigInteger(), nullable=False),
        *_text("status"),
        *_moments("opened_at"),
        *_moments("acknowledged_at", "resolved_at", nullable=True),
        sa.Column("resolution", sa.Text(), nullable=True),
        _one_of("alerts", "alert_type", TYPES),
        _one_of("alerts", "severity", "'info', 'warning', 'critical'"),
        _one_of("alerts", "status", "'open', 'acknowledged', 'resolved', 'retracted'"),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_alerts")),
        schema=schema,
    )
    op.create_index(
        op.f("ix_alerts_alert_type_subject"),
        "alerts",
        ["alert_type", "subject"],
        unique=True,
        schema=schema,
        postgresql_where=sa.text("status IN ('open', 'acknowledged')"),
    )
    op.create_index(op.f("ix_alerts_last_epoch"), "alerts", ["last_epoch"], schema=schema)
    op.create_table(
        "alert_changes",
        _key("alert_id"),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        *_text("change", "reason"),
        *_moments("at"),
        _one_of(
            "alert_changes",
            "change",
            "'opened', 'worsened', 'acknowledged', 'resolved', 'retracted'",
        ),
        sa.PrimaryKeyConstraint("alert_id", "position", name=op.f("pk_alert_changes")),
        schema=schema,
    )
    op.create_table(
        "alert_evaluations",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        *_moments("materialized_at", "at"),
        *_integers("findings", "changes"),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_alert_evaluations")),
        schema=schema,
    )


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    for name in NEW_TABLES:
        op.drop_table(name, schema=schema)
