"""What processes have counted, for the metrics."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "process_counters",
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("metric", "labels", name=op.f("pk_process_counters")),
        schema=op.get_context().version_table_schema,
    )


def downgrade() -> None:
    op.drop_table("process_counters", schema=op.get_context().version_table_schema)
