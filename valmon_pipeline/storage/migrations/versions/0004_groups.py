"""Groups summed up in every epoch, and more sums of each day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _day_sums() -> list[sa.Column[int] | sa.Column[float]]:
    return [
        sa.Column("included", sa.Integer(), nullable=False),
        sa.Column("inclusion_delay_sum", sa.Integer(), nullable=False),
        sa.Column("source_timely", sa.Integer(), nullable=False),
        sa.Column("target_timely", sa.Integer(), nullable=False),
        sa.Column("head_timely", sa.Integer(), nullable=False),
        sa.Column("target_correct", sa.Integer(), nullable=False),
        sa.Column("head_correct", sa.Integer(), nullable=False),
        sa.Column("attestation_effectiveness_weighted_sum", sa.Double(), nullable=False),
        sa.Column("attestation_effectiveness_weight", sa.BigInteger(), nullable=False),
        sa.Column("scored_reward", sa.BigInteger(), nullable=False),
        sa.Column("scored_ideal_reward", sa.BigInteger(), nullable=False),
        sa.Column("reward_effectiveness_sum", sa.Double(), nullable=False),
        sa.Column("reward_effectiveness_count", sa.Integer(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=True),
        sa.Column("misses_slashed", sa.Integer(), nullable=False),
        sa.Column("misses_no_opportunity", sa.Integer(), nullable=False),
        sa.Column("misses_exit_boundary", sa.Integer(), nullable=False),
        sa.Column("misses_not_included", sa.Integer(), nullable=False),
        sa.Column("misses_wrong_target", sa.Integer(), nullable=False),
        sa.Column("misses_late_inclusion", sa.Integer(), nullable=False),
        sa.Column("misses_next_block_missed", sa.Integer(), nullable=False),
        sa.Column("misses_late_block", sa.Integer(), nullable=False),
        sa.Column("misses_wrong_head", sa.Integer(), nullable=False),
        sa.Column("cost_slashed", sa.BigInteger(), nullable=True),
        sa.Column("cost_no_opportunity", sa.BigInteger(), nullable=True),
        sa.Column("cost_exit_boundary", sa.BigInteger(), nullable=True),
        sa.Column("cost_not_included", sa.BigInteger(), nullable=True),
        sa.Column("cost_wrong_target", sa.BigInteger(), nullable=True),
        sa.Column("cost_late_inclusion", sa.BigInteger(), nullable=True),
        sa.Column("cost_next_block_missed", sa.BigInteger(), nullable=True),
        sa.Column("cost_late_block", sa.BigInteger(), nullable=True),
        sa.Column("cost_wrong_head", sa.BigInteger(), nullable=True),
    ]


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    op.create_table(
        "epoch_summaries",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("category", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("validators", sa.Integer(), nullable=False),
        sa.Column("duties", sa.Integer(), nullable=False),
        sa.Column("included", sa.Integer(), nullable=False),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.Column("inclusion_delay_sum", sa.Integer(), nullable=False),
        sa.Column("source_timely", sa.Integer(), nullable=False),
        sa.Column("target_timely", sa.Integer(), nullable=False),
        sa.Column("head_timely", sa.Integer(), nullable=False),
        sa.Column("target_correct", sa.Integer(), nullable=False),
        sa.Column("head_correct", sa.Integer(), nullable=False),
        sa.Column("attestation_effectiveness_sum", sa.Double(), nullable=False),
        sa.Column("attestation_effectiveness_duties", sa.Integer(), nullable=False),
        sa.Column("attestation_effectiveness_weighted_sum", sa.Double(), nullable=False),
        sa.Column("attestation_effectiveness_weight", sa.BigInteger(), nullable=False),
        sa.Column("effective_balance_epochs", sa.BigInteger(), nullable=False),
        sa.Column("reward", sa.BigInteger(), nullable=False),
        sa.Column("ideal_reward", sa.BigInteger(), nullable=True),
        sa.Column("attainable_reward", sa.BigInteger(), nullable=True),
        sa.Column("scored_reward", sa.BigInteger(), nullable=False),
        sa.Column("scored_ideal_reward", sa.BigInteger(), nullable=False),
        sa.Column("reward_effectiveness_sum", sa.Double(), nullable=False),
        sa.Column("reward_effectiveness_count", sa.Integer(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=True),
        sa.Column("misses_slashed", sa.Integer(), nullable=False),
        sa.Column("misses_no_opportunity", sa.Integer(), nullable=False),
        sa.Column("misses_exit_boundary", sa.Integer(), nullable=False),
        sa.Column("misses_not_included", sa.Integer(), nullable=False),
        sa.Column("misses_wrong_target", sa.Integer(), nullable=False),
        sa.Column("misses_late_inclusion", sa.Integer(), nullable=False),
        sa.Column("misses_next_block_missed", sa.Integer(), nullable=False),
        sa.Column("misses_late_block", sa.Integer(), nullable=False),
        sa.Column("misses_wrong_head", sa.Integer(), nullable=False),
        sa.Column("cost_slashed", sa.BigInteger(), nullable=True),
        sa.Column("cost_no_opportunity", sa.BigInteger(), nullable=True),
        sa.Column("cost_exit_boundary", sa.BigInteger(), nullable=True),
        sa.Column("cost_not_included", sa.BigInteger(), nullable=True),
        sa.Column("cost_wrong_target", sa.BigInteger(), nullable=True),
        sa.Column("cost_late_inclusion", sa.BigInteger(), nullable=True),
        sa.Column("cost_next_block_missed", sa.BigInteger(), nullable=True),
        sa.Column("cost_late_block", sa.BigInteger(), nullable=True),
        sa.Column("cost_wrong_head", sa.BigInteger(), nullable=True),
        sa.Column("sync_due", sa.Integer(), nullable=False),
        sa.Column("sync_participated", sa.Integer(), nullable=False),
        sa.Column("sync_reward", sa.BigInteger(), nullable=False),
        sa.Column("sync_ideal_reward", sa.BigInteger(), nullable=True),
        sa.Column("proposals_due", sa.Integer(), nullable=False),
        sa.Column("proposals_proposed", sa.Integer(), nullable=False),
        sa.Column("proposal_reward", sa.BigInteger(), nullable=False),
        sa.Column("formula_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", "category", "value", name=op.f("pk_epoch_summaries")),
        schema=schema,
    )
    # What the new columns sum up is not in the rows: days are summed up again from their epochs.
    op.execute(sa.table("validator_day_summaries", schema=schema).delete())
    for column in _day_sums():
        op.add_column("validator_day_summaries", column, schema=schema)


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    for column in reversed(_day_sums()):
        op.drop_column("validator_day_summaries", column.name, schema=schema)
    op.drop_table("epoch_summaries", schema=schema)
