"""What each attestation could have earned and lost, by component, and why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

REWARD_COLUMNS = (
    "attainable_source",
    "attainable_target",
    "attainable_head",
    "missed_source",
    "missed_target",
    "missed_head",
)
CAUSES = (
    "'slashed', 'no_opportunity', 'exit_boundary', 'not_included', 'wrong_target', "
    "'late_inclusion', 'next_block_missed', 'late_block', 'wrong_head'"
)
CAUSE_CHECK = "ck_attestation_outcomes_miss_cause"


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    for name in REWARD_COLUMNS:
        op.add_column(
            "attestation_rewards", sa.Column(name, sa.BigInteger(), nullable=True), schema=schema
        )
    op.add_column(
        "attestation_outcomes", sa.Column("miss_cause", sa.Text(), nullable=True), schema=schema
    )
    op.add_column(
        "attestation_outcomes", sa.Column("cost", sa.BigInteger(), nullable=True), schema=schema
    )
    op.create_check_constraint(
        op.f(CAUSE_CHECK), "attestation_outcomes", f"miss_cause IN ({CAUSES})", schema=schema
    )


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    op.drop_constraint(op.f(CAUSE_CHECK), "attestation_outcomes", schema=schema)
    for name in ("cost", "miss_cause"):
        op.drop_column("attestation_outcomes", name, schema=schema)
    for name in reversed(REWARD_COLUMNS):
        op.drop_column("attestation_rewards", name, schema=schema)
