"""What the sums of days were made from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "summed_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("sums", sa.Text(), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "sums IN ('validator_day_summaries', 'network_validator_days')",
            name=op.f("ck_summed_days_sums"),
        ),
        sa.PrimaryKeyConstraint("day", "sums", name=op.f("pk_summed_days")),
        schema=op.get_context().version_table_schema,
    )


def downgrade() -> None:
    op.drop_table("summed_days", schema=op.get_context().version_table_schema)
