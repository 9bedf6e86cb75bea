"""The ledger, penalties and missed proposals in the sums of groups and days."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = ("epoch_summaries", "validator_day_summaries")
BALANCES = ("opening_balance", "closing_balance")


def _sums() -> list[sa.Column[int]]:
    return [
        sa.Column("missed_reward", sa.BigInteger(), nullable=False),
        sa.Column("proposal_missed_estimate", sa.BigInteger(), nullable=True),
        sa.Column("penalty_attestation_miss", sa.BigInteger(), nullable=False),
        sa.Column("penalty_inactivity_leak", sa.BigInteger(), nullable=False),
        sa.Column("penalty_sync_miss", sa.BigInteger(), nullable=False),
        sa.Column("penalty_slashing", sa.BigInteger(), nullable=False),
        sa.Column("penalty_slashing_correlation", sa.BigInteger(), nullable=False),
        sa.Column("ledger_attestation", sa.BigInteger(), nullable=False),
        sa.Column("ledger_sync", sa.BigInteger(), nullable=False),
        sa.Column("ledger_proposer", sa.BigInteger(), nullable=False),
        sa.Column("ledger_whistleblower", sa.BigInteger(), nullable=False),
        sa.Column("ledger_withdrawals", sa.BigInteger(), nullable=False),
        sa.Column("ledger_full_withdrawals", sa.BigInteger(), nullable=False),
        sa.Column("ledger_deposits", sa.BigInteger(), nullable=False),
        sa.Column("ledger_consolidations", sa.BigInteger(), nullable=False),
        sa.Column("ledger_compounding_switch", sa.BigInteger(), nullable=False),
        sa.Column("ledger_slashing", sa.BigInteger(), nullable=False),
        sa.Column("ledger_slashing_correlation", sa.BigInteger(), nullable=False),
        sa.Column("ledger_other", sa.BigInteger(), nullable=False),
        sa.Column("ledger_residual", sa.BigInteger(), nullable=False),
        sa.Column("ledger_residual_rows", sa.Integer(), nullable=False),
    ]


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    for table in TABLES:
        # What the new columns sum up is not in the rows: they are made again from their epochs.
        op.execute(sa.table(table, schema=schema).delete())
        for column in _sums():
            op.add_column(table, column, schema=schema)
        for name in BALANCES:
            known = table == "epoch_summaries"
            column = sa.Column(name, sa.BigInteger(), nullable=not known)
            op.add_column(table, column, schema=schema)


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    for table in TABLES:
        for name in (*BALANCES, *(column.name for column in _sums())):
            op.drop_column(table, name, schema=schema)
