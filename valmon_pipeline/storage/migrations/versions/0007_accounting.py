"""Balances accounted for: ledger, penalties, what blocks did, and missed proposals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

OUTCOME_CHECK = "ck_block_rewards_outcome"
GWEI_OF_LEDGER = (
    "opening_balance",
    "attestation",
    "sync",
    "proposer",
    "whistleblower",
    "withdrawals",
    "full_withdrawals",
    "deposits",
    "consolidations",
    "compounding_switch",
    "slashing",
    "slashing_correlation",
    "other",
    "closing_balance",
    "residual",
)


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    op.create_table(
        "block_events",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("validator_index", sa.Integer(), nullable=True),
        sa.Column("target_index", sa.Integer(), nullable=True),
        sa.Column("amount_gwei", sa.BigInteger(), nullable=True),
        sa.Column("effective", sa.Boolean(), nullable=True),
        sa.Column("pubkey", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "event_type IN ('partial_withdrawal', 'full_withdrawal', 'proposer_slashing', "
            "'attester_slashing', 'deposit', 'voluntary_exit', 'credential_change', "
            "'deposit_request', 'withdrawal_request', 'exit_request', 'consolidation_request', "
            "'compounding_request', 'deposit_applied', 'consolidation_applied')",
            name=op.f("ck_block_events_event_type"),
        ),
        sa.PrimaryKeyConstraint("epoch", "slot", "position", name=op.f("pk_block_events")),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    op.create_table(
        "validator_penalties",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("validator_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("penalty_type", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("penalty_gwei", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "penalty_type IN ('attestation_miss', 'inactivity_leak', 'sync_miss', 'slashing', "
            "'slashing_correlation')",
            name=op.f("ck_validator_penalties_penalty_type"),
        ),
        sa.PrimaryKeyConstraint(
            "epoch",
            "slot",
            "validator_index",
            "penalty_type",
            name=op.f("pk_validator_penalties"),
        ),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    op.create_table(
        "balance_ledger",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("validator_index", sa.Integer(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in GWEI_OF_LEDGER),
        sa.Column("residual_class", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "residual_class IN ('attestation_unknown', 'slashing_correlation', 'consolidation', "
            "'compounding_switch', 'pending_deposit', 'balance_floor', 'unexplained')",
            name=op.f("ck_balance_ledger_residual_class"),
        ),
        sa.PrimaryKeyConstraint("epoch", "validator_index", name=op.f("pk_balance_ledger")),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    # Every row so far is of a canonical block.
    op.add_column(
        "block_rewards",
        sa.Column("outcome", sa.Text(), nullable=False, server_default="proposed"),
        schema=schema,
    )
    op.alter_column("block_rewards", "outcome", server_default=None, schema=schema)
    op.create_check_constraint(
        op.f(OUTCOME_CHECK),
        "block_rewards",
        "outcome IN ('proposed', 'missed', 'orphaned')",
        schema=schema,
    )
    op.add_column(
        "block_rewards", sa.Column("missed_estimate", sa.BigInteger(), nullable=True), schema=schema
    )
    _add_seats(schema)
    op.add_column(
        "sync_rewards", sa.Column("seat_reward", sa.BigInteger(), nullable=True), schema=schema
    )


def _add_seats(schema: str | None) -> None:
    op.add_column("sync_rewards", sa.Column("seats", sa.Integer(), nullable=True), schema=schema)
    rewards = sa.table(
        "sync_rewards",
        *(sa.column(name) for name in ("epoch", "validator_index", "seats")),
        schema=schema,
    )
    duties = sa.table(
        "sync_duties",
        *(sa.column(name) for name in ("epoch", "validator_index", "seats")),
        schema=schema,
    )
    op.execute(
        rewards.update()
        .values(seats=duties.c.seats)
        .where(
            rewards.c.epoch == duties.c.epoch,
            rewards.c.validator_index == duties.c.validator_index,
        )
    )
    op.alter_column("sync_rewards", "seats", nullable=False, schema=schema)


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    for name in ("seat_reward", "seats"):
        op.drop_column("sync_rewards", name, schema=schema)
    rewards = sa.table("block_rewards", sa.column("outcome"), schema=schema)
    op.execute(rewards.delete().where(rewards.c.outcome != "proposed"))
    op.drop_constraint(op.f(OUTCOME_CHECK), "block_rewards", schema=schema)
    for name in ("missed_estimate", "outcome"):
        op.drop_column("block_rewards", name, schema=schema)
    for name in ("balance_ledger", "validator_penalties", "block_events"):
        op.drop_table(name, schema=schema)
