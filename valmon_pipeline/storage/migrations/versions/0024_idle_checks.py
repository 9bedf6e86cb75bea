"""A check of an epoch may have had nothing to compare: then it has not passed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    op.alter_column("check_results", "passed", nullable=True, schema=schema)


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    results = sa.table("check_results", sa.column("passed", sa.Boolean()), schema=schema)
    op.execute(results.update().where(results.c.passed.is_(None)).values(passed=True))
    op.alter_column("check_results", "passed", nullable=False, schema=schema)
