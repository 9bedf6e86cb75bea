"""The live service: head, slots, events, corrections, days, and duties known ahead."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OUTCOME_CHECK = "ck_proposer_duties_outcome"


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    op.create_table(
        "chain_head",
        sa.Column("only_row", sa.Boolean(), autoincrement=False, nullable=False),
        sa.Column("head_slot", sa.Integer(), nullable=False),
        sa.Column("head_root", sa.LargeBinary(), nullable=False),
        sa.Column("head_epoch", sa.Integer(), nullable=False),
        sa.Column("justified_epoch", sa.Integer(), nullable=False),
        sa.Column("finalized_epoch", sa.Integer(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("is_optimistic", sa.Boolean(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("only_row", name=op.f("ck_chain_head_only_row")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("pk_chain_head")),
        schema=schema,
    )
    op.create_table(
        "live_slots",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("proposer_index", sa.Integer(), nullable=True),
        sa.Column("block_root", sa.LargeBinary(), nullable=True),
        sa.Column("late", sa.Boolean(), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "status IN ('proposed', 'missed', 'orphaned')", name=op.f("ck_live_slots_status")
        ),
        sa.PrimaryKeyConstraint("epoch", "slot", name=op.f("pk_live_slots")),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    op.create_table(
        "live_events",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("validator_index", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "event_type IN ('proposal_missed', 'proposal_late', 'slashed', 'exit_initiated', "
            "'status_changed', 'reorg')",
            name=op.f("ck_live_events_event_type"),
        ),
        sa.PrimaryKeyConstraint("epoch", "slot", "position", name=op.f("pk_live_events")),
        schema=schema,
    )
    op.create_index(
        op.f("ix_live_events_validator_index_epoch"),
        "live_events",
        ["validator_index", "epoch"],
        unique=False,
        schema=schema,
    )
    op.create_table(
        "corrections",
        sa.Column("correction_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=True),
        sa.Column("validator_index", sa.Integer(), nullable=True),
        sa.Column("column_name", sa.Text(), nullable=False),
        sa.Column("old_value", sa.Text(), nullable=True),
        sa.Column("new_value", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("correction_id", name=op.f("pk_corrections")),
        schema=schema,
    )
    op.create_index(
        op.f("ix_corrections_epoch"), "corrections", ["epoch"], unique=False, schema=schema
    )
    op.create_table(
        "validator_day_summaries",
        sa.Column("day", sa.Date(), autoincrement=False, nullable=False),
        sa.Column("validator_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epochs", sa.Integer(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("finalized", sa.Boolean(), nullable=False),
        sa.Column("duties", sa.Integer(), nullable=False),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.Column("attestation_effectiveness_sum", sa.Double(), nullable=False),
        sa.Column("attestation_effectiveness_duties", sa.Integer(), nullable=False),
        sa.Column("reward", sa.BigInteger(), nullable=False),
        sa.Column("ideal_reward", sa.BigInteger(), nullable=True),
        sa.Column("attainable_reward", sa.BigInteger(), nullable=True),
        sa.Column("sync_due", sa.Integer(), nullable=False),
        sa.Column("sync_participated", sa.Integer(), nullable=False),
        sa.Column("sync_reward", sa.BigInteger(), nullable=False),
        sa.Column("sync_ideal_reward", sa.BigInteger(), nullable=True),
        sa.Column("proposals_due", sa.Integer(), nullable=False),
        sa.Column("proposals_proposed", sa.Integer(), nullable=False),
        sa.Column("proposal_reward", sa.BigInteger(), nullable=False),
        sa.Column("effective_balance_epochs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "validator_index", name=op.f("pk_validator_day_summaries")),
        schema=schema,
    )
    op.create_index(
        op.f("ix_validator_day_summaries_validator_index_day"),
        "validator_day_summaries",
        ["validator_index", "day"],
        unique=False,
        schema=schema,
    )
    op.drop_constraint(op.f(OUTCOME_CHECK), "proposer_duties", schema=schema)
    op.create_check_constraint(
        op.f(OUTCOME_CHECK),
        "proposer_duties",
        "outcome IN ('proposed', 'missed', 'orphaned', 'scheduled')",
        schema=schema,
    )


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    duties = sa.table("proposer_duties", sa.column("outcome"), schema=schema)
    op.execute(duties.delete().where(duties.c.outcome == "scheduled"))
    op.drop_constraint(op.f(OUTCOME_CHECK), "proposer_duties", schema=schema)
    op.create_check_constraint(
        op.f(OUTCOME_CHECK),
        "proposer_duties",
        "outcome IN ('proposed', 'missed', 'orphaned')",
        schema=schema,
    )
    op.drop_table("validator_day_summaries", schema=schema)
    op.drop_table("corrections", schema=schema)
    op.drop_table("live_events", schema=schema)
    op.drop_table("live_slots", schema=schema)
    op.drop_table("chain_head", schema=schema)
