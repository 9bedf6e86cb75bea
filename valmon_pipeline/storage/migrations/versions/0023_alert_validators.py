"""Validators of alerts are rows, names of rules are free text."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

INDEX: Final = "ix_alert_validators_validator_index_alert_id"
TYPED: Final = ("alerts", "alert_silences")
TYPES: Final = (
    "'missed_attestations', 'missed_attestation_share', 'low_effectiveness', 'below_network', "
    "'missed_proposal', 'sync_participation', 'slashing', 'exit', 'balance_drop', "
    "'ledger_residual', 'node_unhealthy', 'data_late', 'pipeline_stalled'"
)
KEPT_IN_TEXT: Final = 1000


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    op.create_table(
        "alert_validators",
        sa.Column("alert_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("validator_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("alert_id", "validator_index", name=op.f("pk_alert_validators")),
        schema=schema,
    )
    alerts, validators = _tables(schema)
    numbers = sa.func.unnest(sa.func.string_to_array(alerts.c.validator_indices, ","))
    op.execute(
        validators.insert().from_select(
            ["alert_id", "validator_index"],
            sa.select(alerts.c.alert_id, sa.cast(numbers, sa.Integer)).where(
                alerts.c.validator_indices != ""
            ),
        )
    )
    op.create_index(op.f(INDEX), "alert_validators", ["validator_index", "alert_id"], schema=schema)
    op.drop_column("alerts", "validator_indices", schema=schema)
    for table in TYPED:
        op.drop_constraint(op.f(f"ck_{table}_alert_type"), table, schema=schema)


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    for table in TYPED:
        op.create_check_constraint(
            op.f(f"ck_{table}_alert_type"), table, f"alert_type IN ({TYPES})", schema=schema
        )
    op.add_column(
        "alerts",
        sa.Column("validator_indices", sa.Text(), nullable=False, server_default=""),
        schema=schema,
    )
    op.alter_column("alerts", "validator_indices", server_default=None, schema=schema)
    alerts, validators = _tables(schema)
    first = (
        sa.select(validators.c.validator_index)
        .where(validators.c.alert_id == alerts.c.alert_id)
        .order_by(validators.c.validator_index)
        .limit(KEPT_IN_TEXT)
        .correlate(alerts)
        .subquery()
    )
    joined = sa.select(
        sa.func.coalesce(
            sa.func.string_agg(
                sa.cast(first.c.validator_index, sa.Text),
                sa.literal_column("',' ORDER BY validator_index"),
            ),
            "",
        )
    ).scalar_subquery()
    op.execute(alerts.update().values(validator_indices=joined))
    op.drop_table("alert_validators", schema=schema)


def _tables(schema: str | None) -> tuple[sa.TableClause, sa.TableClause]:
    texts: sa.ColumnClause[str] = sa.column("validator_indices", sa.Text())
    return (
        sa.table("alerts", sa.column("alert_id"), texts, schema=schema),
        sa.table(
            "alert_validators", sa.column("alert_id"), sa.column("validator_index"), schema=schema
        ),
    )
