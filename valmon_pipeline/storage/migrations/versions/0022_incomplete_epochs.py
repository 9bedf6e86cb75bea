"""Sums of days say how many of their epochs lack a fact; health may be unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

HEALTH_CHECK: Final = "ck_validator_standings_health"
HEALTH: Final = ("healthy", "degraded", "critical", "inactive")
MISSING: Final = "ix_fact_sources_fact_epoch"
SERIES: Final = "ix_epoch_summaries_category_value_epoch"
CARRIED: Final = (
    *("validators", "duties", "missed"),
    *("attestation_effectiveness_sum", "attestation_effectiveness_duties"),
    *("scored_reward", "scored_ideal_reward", "reward", "ideal_reward", "attainable_reward"),
    *("missed_reward", "proposals_due", "proposals_proposed", "sync_due", "sync_participated"),
    *("sync_reward", "proposal_reward", "closing_balance", "ledger_residual_rows"),
    *("misses_slashed", "misses_no_opportunity", "misses_exit_boundary", "misses_not_included"),
    *("misses_wrong_target", "misses_late_inclusion", "misses_next_block_missed"),
    *("misses_late_block", "misses_wrong_head"),
)


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    _allow_health((*HEALTH, "unknown"))
    # Epochs of earlier days lack nothing: one that did was not stored.
    op.add_column(
        "validator_day_summaries",
        sa.Column("incomplete_epochs", sa.Integer(), nullable=False, server_default="0"),
        schema=schema,
    )
    op.alter_column(
        "validator_day_summaries", "incomplete_epochs", server_default=None, schema=schema
    )
    op.create_index(
        op.f(MISSING),
        "fact_sources",
        ["fact", "epoch"],
        schema=schema,
        postgresql_where=sa.text("source IS NULL"),
    )
    _index_series((*CARRIED, "rewards_known"))


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    _index_series(CARRIED)
    op.drop_index(op.f(MISSING), "fact_sources", schema=schema)
    op.drop_column("validator_day_summaries", "incomplete_epochs", schema=schema)
    standings = sa.table("validator_standings", sa.column("health"), schema=schema)
    op.execute(standings.update().where(standings.c.health == "unknown").values(health="inactive"))
    _allow_health(HEALTH)


def _allow_health(names: Sequence[str]) -> None:
    schema = op.get_context().version_table_schema
    op.drop_constraint(op.f(HEALTH_CHECK), "validator_standings", schema=schema)
    listed = ", ".join(f"'{name}'" for name in names)
    op.create_check_constraint(
        op.f(HEALTH_CHECK), "validator_standings", f"health IN ({listed})", schema=schema
    )


def _index_series(carried: Sequence[str]) -> None:
    schema = op.get_context().version_table_schema
    op.drop_index(op.f(SERIES), "epoch_summaries", schema=schema)
    op.create_index(
        op.f(SERIES),
        "epoch_summaries",
        ["category", "value", "epoch"],
        schema=schema,
        postgresql_include=list(carried),
    )
