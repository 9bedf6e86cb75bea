"""The outbox of messages about alerts, and silences."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

RULES = (
    "'missed_attestations', 'missed_attestation_share', 'low_effectiveness', 'below_network', "
    "'missed_proposal', 'sync_participation', 'slashing', 'exit', 'balance_drop', "
    "'ledger_residual', 'node_unhealthy', 'data_late', 'pipeline_stalled'"
)


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _one_of(table: str, column: str, values: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{column} IN ({values})", name=op.f(f"ck_{table}_{column}"))


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    outbox = "alert_deliveries"
    op.create_table(
        outbox,
        _key("delivery_id"),
        _text("delivery_key"),
        _text("channel"),
        sa.Column("alert_id", sa.BigInteger(), nullable=False),
        *(_text(name) for name in ("kind", "severity", "title", "body", "status")),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _moment("next_attempt_at"),
        _text("last_error", nullable=True),
        _moment("created_at"),
        _moment("sent_at", nullable=True),
        _one_of(
            outbox,
            "kind",
            "'opened', 'worsened', 'resolved', 'retracted', 'digest', 'heartbeat', 'test'",
        ),
        _one_of(outbox, "severity", "'info', 'warning', 'critical'"),
        _one_of(outbox, "status", "'pending', 'sent', 'dead', 'cancelled'"),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f(f"pk_{outbox}")),
        schema=schema,
    )
    op.create_index(
        op.f(f"ix_{outbox}_delivery_key"), outbox, ["delivery_key"], unique=True, schema=schema
    )
    op.create_index(op.f(f"ix_{outbox}_alert_id"), outbox, ["alert_id"], schema=schema)
    op.create_index(
        op.f(f"ix_{outbox}_next_attempt_at"),
        outbox,
        ["next_attempt_at"],
        schema=schema,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_table(
        "alert_silences",
        _key("silence_id"),
        _text("subject", nullable=True),
        _text("alert_type", nullable=True),
        _moment("starts_at"),
        _moment("ends_at"),
        _text("reason"),
        _one_of("alert_silences", "alert_type", RULES),
        sa.PrimaryKeyConstraint("silence_id", name=op.f("pk_alert_silences")),
        schema=schema,
    )


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    for name in ("alert_silences", "alert_deliveries"):
        op.drop_table(name, schema=schema)
