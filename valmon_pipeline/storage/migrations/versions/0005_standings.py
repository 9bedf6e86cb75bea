"""Standings, the list of those that are due, and effectiveness against what was attainable."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    op.add_column(
        "effectiveness_scores",
        sa.Column("attainable_effectiveness", sa.Double(), nullable=True),
        schema=schema,
    )
    op.create_table(
        "validator_standings",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("validator_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("time_weighted_score", sa.Double(), nullable=True),
        sa.Column("missed_streak", sa.Integer(), nullable=False),
        sa.Column("health", sa.Text(), nullable=False),
        sa.Column("health_reasons", sa.Text(), nullable=True),
        sa.Column("window_epochs", sa.Integer(), nullable=False),
        sa.Column("window_complete", sa.Boolean(), nullable=False),
        sa.Column("formula_version", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "health IN ('healthy', 'degraded', 'critical', 'inactive')",
            name=op.f("ck_validator_standings_health"),
        ),
        sa.PrimaryKeyConstraint("epoch", "validator_index", name=op.f("pk_validator_standings")),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    op.create_table(
        "standings_due",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("spreads", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_standings_due")),
        schema=schema,
    )
    # Epochs that were stored by an older version have no standings yet.
    epochs = sa.table("network_epochs", sa.column("epoch", sa.Integer()), schema=schema)
    due = sa.table(
        "standings_due",
        sa.column("epoch", sa.Integer()),
        sa.column("spreads", sa.Boolean()),
        sa.column("reason", sa.Text()),
        sa.column("mark", sa.BigInteger()),
        schema=schema,
    )
    op.execute(
        due.insert().from_select(
            ["epoch", "spreads", "reason", "mark"],
            sa.select(
                epochs.c.epoch, sa.literal(False), sa.literal("standings introduced"), sa.literal(0)
            ),
        )
    )


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    op.drop_table("standings_due", schema=schema)
    op.drop_table("validator_standings", schema=schema)
    op.drop_column("effectiveness_scores", "attainable_effectiveness", schema=schema)
