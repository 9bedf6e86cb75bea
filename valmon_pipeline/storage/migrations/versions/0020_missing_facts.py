"""Where each fact of an epoch came from, and NULL where a fact is missing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

MAY_BE_MISSING: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "validator_snapshots": ("status", "balance", "effective_balance"),
        "proposer_duties": ("validator_index",),
        "attestation_rewards": (
            *("source_reward", "target_reward", "head_reward"),
            *("inactivity_penalty", "total_reward"),
        ),
        "block_rewards": (
            *("total", "attestations", "sync_aggregate"),
            *("proposer_slashings", "attester_slashings"),
        ),
        "sync_rewards": ("reward",),
        "balance_ledger": (
            *("attestation", "sync", "proposer", "whistleblower"),
            *("withdrawals", "full_withdrawals", "deposits", "consolidations"),
            *("compounding_switch", "slashing", "slashing_correlation", "other", "residual"),
        ),
        "epoch_summaries": ("opening_balance", "closing_balance"),
    }
)
"""Columns that may be NULL from here on, by table."""

COUNTS_OF_KNOWN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rewards_known": "duties",
        "sync_due_rewarded": "sync_due",
        "proposals_rewarded": "proposals_proposed",
    }
)
"""New sums, and the sum that each equals where nothing is missing."""

SUMMED_UP: Final = ("epoch_summaries", "validator_day_summaries")
CLASS_CHECK: Final = "ck_balance_ledger_residual_class"
CLASSES: Final = (
    *("attestation_unknown", "slashing_correlation", "consolidation", "compounding_switch"),
    *("pending_deposit", "balance_floor", "unexplained"),
)
CLASSES_OF_UNKNOWN: Final = ("sync_unknown", "proposer_unknown", "withdrawals_unknown")


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    op.create_table(
        "fact_sources",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fact", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("node", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("compared", sa.Integer(), nullable=True),
        sa.Column("deviating", sa.Integer(), nullable=True),
        sa.Column("largest_deviation", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "fact IN ('blocks', 'registry_at_start', 'registry_at_end', 'committees', "
            "'sync_committee', 'proposers', 'finality', 'attestation_rewards', "
            "'previous_attestation_rewards', 'block_rewards', 'sync_rewards', 'withdrawals', "
            "'life_cycles', 'pending_queues', 'slashed_balance', 'network_state')",
            name=op.f("ck_fact_sources_fact"),
        ),
        sa.PrimaryKeyConstraint("epoch", "fact", name=op.f("pk_fact_sources")),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    for table, columns in MAY_BE_MISSING.items():
        for column in columns:
            op.alter_column(table, column, nullable=True, schema=schema)
    _allow_classes(schema, (*CLASSES[:1], *CLASSES_OF_UNKNOWN, *CLASSES[1:]))
    # An epoch that lacked a fact was not stored before.
    _add_count(schema, "network_epochs", "missing_facts")
    for table in SUMMED_UP:
        _add_count(schema, table, "ledger_unknown_rows")
        for name, complete in COUNTS_OF_KNOWN.items():
            _add_count(schema, table, name)
            sums = sa.table(table, sa.column(name), sa.column(complete), schema=schema)
            op.execute(sums.update().values({name: sums.c[complete]}))


def _add_count(schema: str | None, table: str, name: str) -> None:
    """A column that is 0 in the rows that there are."""
    column = sa.Column(name, sa.Integer(), nullable=False, server_default="0")
    op.add_column(table, column, schema=schema)
    op.alter_column(table, name, server_default=None, schema=schema)


def _allow_classes(schema: str | None, classes: tuple[str, ...]) -> None:
    op.drop_constraint(op.f(CLASS_CHECK), "balance_ledger", schema=schema)
    listed = ", ".join(f"'{name}'" for name in classes)
    op.create_check_constraint(
        op.f(CLASS_CHECK), "balance_ledger", f"residual_class IN ({listed})", schema=schema
    )


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    # Epochs that lack a fact are no longer known as stored, so that they are loaded again.
    epochs = sa.table("network_epochs", sa.column("missing_facts"), schema=schema)
    op.execute(epochs.delete().where(epochs.c.missing_facts > 0))
    for table, columns in MAY_BE_MISSING.items():
        rows = sa.table(table, *(sa.column(name) for name in columns), schema=schema)
        missing = sa.or_(*(rows.c[name].is_(None) for name in columns))
        op.execute(rows.delete().where(missing))
        for column in columns:
            op.alter_column(table, column, nullable=False, schema=schema)
    _allow_classes(schema, CLASSES)
    for table in SUMMED_UP:
        for name in (*COUNTS_OF_KNOWN, "ledger_unknown_rows"):
            op.drop_column(table, name, schema=schema)
    op.drop_column("network_epochs", "missing_facts", schema=schema)
    op.drop_table("fact_sources", schema=schema)
