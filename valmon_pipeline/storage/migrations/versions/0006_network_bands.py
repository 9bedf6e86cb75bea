"""The network by effective balance, and where validators stand in it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

QUANTILES = tuple(
    f"{score}_p{percent:02d}"
    for score in ("reward_effectiveness", "attestation_effectiveness")
    for percent in (5, 25, 50, 75, 95)
)


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    op.create_table(
        "network_bands",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("effective_balance_band", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("validators", sa.Integer(), nullable=False),
        sa.Column("effective_balance", sa.BigInteger(), nullable=False),
        sa.Column("reward", sa.BigInteger(), nullable=True),
        sa.Column("ideal_reward", sa.BigInteger(), nullable=False),
        sa.Column("attestation_effectiveness_sum", sa.Double(), nullable=False),
        sa.Column("attestation_effectiveness_duties", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=True) for name in QUANTILES),
        sa.PrimaryKeyConstraint("epoch", "effective_balance_band", name=op.f("pk_network_bands")),
        schema=schema,
    )
    for name in QUANTILES:
        op.add_column("network_epochs", sa.Column(name, sa.Double(), nullable=True), schema=schema)
    op.add_column(
        "effectiveness_scores",
        sa.Column("effective_balance_band", sa.BigInteger(), nullable=True),
        schema=schema,
    )
    op.add_column(
        "effectiveness_scores",
        sa.Column("band_percentile_rank", sa.Double(), nullable=True),
        schema=schema,
    )


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    for name in ("band_percentile_rank", "effective_balance_band"):
        op.drop_column("effectiveness_scores", name, schema=schema)
    for name in reversed(QUANTILES):
        op.drop_column("network_epochs", name, schema=schema)
    op.drop_table("network_bands", schema=schema)
