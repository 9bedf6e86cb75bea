"""Indexes behind the questions about one group and one validator."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_epoch_summaries_category_value_epoch": ("epoch_summaries", ["category", "value", "epoch"]),
    "ix_validator_penalties_validator_index_epoch": (
        "validator_penalties",
        ["validator_index", "epoch"],
    ),
    "ix_block_events_validator_index_epoch": ("block_events", ["validator_index", "epoch"]),
    "ix_block_events_target_index_epoch": ("block_events", ["target_index", "epoch"]),
}
PARTIAL = {"ix_block_events_target_index_epoch": "target_index IS NOT NULL"}


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    for name, (table, columns) in INDEXES.items():
        where = PARTIAL.get(name)
        op.create_index(
            op.f(name),
            table,
            columns,
            schema=schema,
            postgresql_where=None if where is None else sa.text(where),
        )


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    for name, (table, _) in INDEXES.items():
        op.drop_index(op.f(name), table, schema=schema)
