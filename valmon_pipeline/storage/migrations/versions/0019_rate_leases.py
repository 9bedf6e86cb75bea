"""One rate limit per node for all processes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "node_budgets",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("refilled_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_node_budgets")),
        schema=op.get_context().version_table_schema,
    )
    op.create_table(
        "rate_leases",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("lessee", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("in_flight", sa.Integer(), nullable=False),
        sa.Column("leased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("node", "lessee", name=op.f("pk_rate_leases")),
        schema=op.get_context().version_table_schema,
    )


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    op.drop_table("rate_leases", schema=schema)
    op.drop_table("node_budgets", schema=schema)
