"""A day of each validator of the whole network."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

COUNTS = ("active", "eligible", "source_timely", "target_timely", "head_timely")
AMOUNTS = (
    *("source_reward", "target_reward", "head_reward", "inactivity_penalty", "ideal_reward"),
    "closing_balance",
)


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    op.create_table(
        "network_validator_days",
        sa.Column("day", sa.Date(), autoincrement=False, nullable=False),
        sa.Column("validator_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epochs", sa.Integer(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in COUNTS),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in AMOUNTS),
        sa.PrimaryKeyConstraint("day", "validator_index", name=op.f("pk_network_validator_days")),
        schema=schema,
    )
    op.create_index(
        op.f("ix_network_validator_days_validator_index_day"),
        "network_validator_days",
        ["validator_index", "day"],
        schema=schema,
    )


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    op.drop_table("network_validator_days", schema=schema)
