"""Facts and scores of an epoch are stored one after the other: an epoch can be without scores."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column(
        "network_epochs",
        "formula_version",
        existing_type=sa.Integer(),
        nullable=True,
        schema=op.get_context().version_table_schema,
    )


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    epochs = sa.table("network_epochs", sa.column("formula_version"), schema=schema)
    # As before they had scores: version 0 is stale whatever the formulas are.
    op.execute(epochs.update().where(epochs.c.formula_version.is_(None)).values(formula_version=0))
    op.alter_column(
        "network_epochs",
        "formula_version",
        existing_type=sa.Integer(),
        nullable=False,
        schema=schema,
    )
