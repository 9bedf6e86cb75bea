"""Answers of nodes kept while they were current."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "captured_answers",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("block_root", sa.LargeBinary()),
        sa.Column(
            "captured_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.now(),
            nullable=False,
        ),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", "request", name=op.f("pk_captured_answers")),
        schema=op.get_context().version_table_schema,
    )


def downgrade() -> None:
    op.drop_table("captured_answers", schema=op.get_context().version_table_schema)
