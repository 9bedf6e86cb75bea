"""Indexes of group sums carry what dashboards plot over months."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

NAME = "ix_epoch_summaries_category_value_epoch"
CARRIED = (
    "validators",
    "duties",
    "missed",
    "attestation_effectiveness_sum",
    "attestation_effectiveness_duties",
    "scored_reward",
    "scored_ideal_reward",
    "reward",
    "ideal_reward",
    "attainable_reward",
    "missed_reward",
    "proposals_due",
    "proposals_proposed",
    "sync_due",
    "sync_participated",
    "sync_reward",
    "proposal_reward",
    "closing_balance",
    "ledger_residual_rows",
    "misses_slashed",
    "misses_no_opportunity",
    "misses_exit_boundary",
    "misses_not_included",
    "misses_wrong_target",
    "misses_late_inclusion",
    "misses_next_block_missed",
    "misses_late_block",
    "misses_wrong_head",
)

OF_EVERYBODY = "ix_epoch_summaries_epoch"
CARRIED_OF_EVERYBODY = (
    "cost_slashed",
    "cost_no_opportunity",
    "cost_exit_boundary",
    "cost_not_included",
    "cost_wrong_target",
    "cost_late_inclusion",
    "cost_next_block_missed",
    "cost_late_block",
    "cost_wrong_head",
    "penalty_attestation_miss",
    "penalty_inactivity_leak",
    "penalty_sync_miss",
    "penalty_slashing",
    "penalty_slashing_correlation",
    "ledger_attestation",
    "ledger_sync",
    "ledger_proposer",
    "ledger_whistleblower",
    "ledger_withdrawals",
    "ledger_full_withdrawals",
    "ledger_deposits",
    "ledger_consolidations",
    "ledger_compounding_switch",
    "ledger_slashing",
    "ledger_slashing_correlation",
    "ledger_other",
)


def _index_again(carried: Sequence[str]) -> None:
    schema = op.get_context().version_table_schema
    op.drop_index(op.f(NAME), "epoch_summaries", schema=schema)
    op.create_index(
        op.f(NAME),
        "epoch_summaries",
        ["category", "value", "epoch"],
        schema=schema,
        postgresql_include=list(carried),
    )


def upgrade() -> None:
    _index_again(CARRIED)
    op.create_index(
        op.f(OF_EVERYBODY),
        "epoch_summaries",
        ["epoch"],
        schema=op.get_context().version_table_schema,
        postgresql_where=sa.text("category = 'all' AND value = 'all'"),
        postgresql_include=list(CARRIED_OF_EVERYBODY),
    )


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    op.drop_index(op.f(OF_EVERYBODY), "epoch_summaries", schema=schema)
    _index_again(())
