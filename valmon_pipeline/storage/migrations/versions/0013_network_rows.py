"""Every validator of the network: outcomes, tiles, and the view that joins them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STATUSES = (
    "'pending_initialized', 'pending_queued', 'active_ongoing', 'active_exiting', "
    "'active_slashed', 'exited_unslashed', 'exited_slashed', 'withdrawal_possible', "
    "'withdrawal_done'"
)

# What a validator had in an epoch, from its state s, outcome o and own values u.
COLUMNS = """
    s.epoch,
    {validator} AS validator_index,
    o.status,
    o.active,
    o.eligible,
    o.slashed,
    o.source_timely,
    o.target_timely,
    o.head_timely,
    u.balance_ether * 1000000000::bigint + u.balance_gwei AS balance,
    o.effective_balance,
    o.inactivity_score,
    o.source_reward,
    o.target_reward,
    o.head_reward,
    o.inactivity_penalty,
    o.source_reward + o.target_reward + o.head_reward - o.inactivity_penalty AS total_reward,
    o.ideal_reward,
    o.reward_effectiveness,
    o.percentile_rank,
    CASE WHEN u.committee >= 0 THEN
        s.epoch * (SELECT slots_per_epoch FROM {schema}.network_identity)
        + u.committee / s.committees_per_slot END AS slot,
    CASE WHEN u.committee >= 0 THEN u.committee % s.committees_per_slot END AS committee_index,
    CASE WHEN u.committee >= 0 THEN u.committee_position::integer END AS committee_position
"""

# OFFSET 0 keeps the order of things whatever the planner believes about how many there are: a tile
# is taken out of its row once (array_cat with nothing does that), and only numbers are joined.
VIEW = """
CREATE VIEW {schema}.network_validators AS
SELECT {columns}
FROM {schema}.network_states s
CROSS JOIN LATERAL (
    SELECT
        t.first_validator + n AS validator_index,
        a.outcome[p.place] AS outcome,
        a.balance_ether[p.place] AS balance_ether,
        a.balance_gwei[p.place] AS balance_gwei,
        a.committee[p.place] AS committee,
        a.committee_position[p.place] AS committee_position
    FROM {schema}.network_tiles t
    CROSS JOIN LATERAL (
        SELECT
            array_cat(t.outcome, '{{}}') AS outcome,
            array_cat(t.balance_ether, '{{}}') AS balance_ether,
            array_cat(t.balance_gwei, '{{}}') AS balance_gwei,
            array_cat(t.committee, '{{}}') AS committee,
            array_cat(t.committee_position, '{{}}') AS committee_position
        OFFSET 0
    ) a
    CROSS JOIN LATERAL generate_series(0, cardinality(a.outcome) / s.tile_epochs - 1) AS n
    CROSS JOIN LATERAL (SELECT n * s.tile_epochs + s.epoch - s.tile_epoch + 1 AS place) p
    WHERE t.epoch = s.tile_epoch AND t.epochs = s.tile_epochs
    OFFSET 0
) u
JOIN {schema}.network_outcomes o ON o.epoch = s.epoch AND o.outcome = u.outcome
"""

# One probe per tile, then one per epoch and outcome: again in this order, whatever is believed.
HISTORY = """
CREATE FUNCTION {schema}.network_validator_history(
    validator integer, from_epoch integer, to_epoch integer
) RETURNS SETOF {schema}.network_validators
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT {columns}
FROM (
    SELECT
        tiles.tile_epoch,
        tiles.tile_epochs,
        tiles.tile_epoch + e.place::integer - 1 AS epoch,
        e.outcome,
        e.balance_ether,
        e.balance_gwei,
        e.committee,
        e.committee_position
    FROM (
        SELECT DISTINCT
            tile_epoch,
            tile_epochs,
            validator - validator % tile_validators AS first_validator,
            validator % tile_validators * tile_epochs + 1 AS low,
            (validator % tile_validators + 1) * tile_epochs AS high
        FROM {schema}.network_states
        WHERE epoch BETWEEN from_epoch AND to_epoch
    ) tiles
    CROSS JOIN LATERAL (
        SELECT
            outcome[tiles.low:tiles.high] AS outcome,
            balance_ether[tiles.low:tiles.high] AS balance_ether,
            balance_gwei[tiles.low:tiles.high] AS balance_gwei,
            committee[tiles.low:tiles.high] AS committee,
            committee_position[tiles.low:tiles.high] AS committee_position
        FROM {schema}.network_tiles
        WHERE epoch = tiles.tile_epoch
          AND epochs = tiles.tile_epochs
          AND first_validator = tiles.first_validator
        OFFSET 0
    ) t
    CROSS JOIN LATERAL unnest(
        t.outcome, t.balance_ether, t.balance_gwei, t.committee, t.committee_position
    ) WITH ORDINALITY
        AS e(outcome, balance_ether, balance_gwei, committee, committee_position, place)
    OFFSET 0
) u
JOIN {schema}.network_states s
  ON s.epoch = u.epoch AND s.tile_epoch = u.tile_epoch AND s.tile_epochs = u.tile_epochs
CROSS JOIN LATERAL (
    SELECT *
    FROM {schema}.network_outcomes
    WHERE epoch = s.epoch AND outcome = u.outcome
    OFFSET 0
) o
WHERE s.epoch BETWEEN from_epoch AND to_epoch
ORDER BY s.epoch;
END
"""


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), autoincrement=False, nullable=False)


def _columns(kind: sa.types.TypeEngine[Any], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    assert schema is not None
    op.create_table(
        "network_states",
        _key("epoch"),
        *_columns(
            sa.Integer(),
            *("state_slot", "validators", "committees_per_slot"),
            *("tile_epoch", "tile_epochs", "tile_validators"),
        ),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_network_states")),
        schema=schema,
    )
    op.create_table(
        "network_outcomes",
        _key("epoch"),
        _key("outcome"),
        *_columns(sa.Integer(), "validators"),
        *_columns(sa.Text(), "status"),
        *_columns(sa.Boolean(), "active", "eligible", "slashed"),
        *_columns(sa.Boolean(), "source_timely", "target_timely", "head_timely"),
        *_columns(
            sa.BigInteger(),
            *("effective_balance", "inactivity_score", "source_reward", "target_reward"),
            *("head_reward", "inactivity_penalty", "ideal_reward"),
        ),
        sa.Column("reward_effectiveness", sa.Double(), nullable=True),
        sa.Column("percentile_rank", sa.Double(), nullable=True),
        sa.CheckConstraint(f"status IN ({STATUSES})", name=op.f("ck_network_outcomes_status")),
        sa.PrimaryKeyConstraint("epoch", "outcome", name=op.f("pk_network_outcomes")),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    op.create_table(
        "network_tiles",
        *map(_key, ("epoch", "epochs", "first_validator")),
        *_columns(ARRAY(sa.Integer()), "outcome", "balance_ether", "balance_gwei"),
        *_columns(ARRAY(sa.SmallInteger()), "committee", "committee_position"),
        sa.PrimaryKeyConstraint(
            "epoch", "epochs", "first_validator", name=op.f("pk_network_tiles")
        ),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    quoted = op.get_bind().dialect.identifier_preparer.quote_schema(schema)
    op.execute(
        VIEW.format(
            schema=quoted,
            columns=COLUMNS.format(schema=quoted, validator="u.validator_index"),
        )
    )
    op.execute(
        HISTORY.format(schema=quoted, columns=COLUMNS.format(schema=quoted, validator="validator"))
    )
    op.execute(
        f"COMMENT ON VIEW {quoted}.network_validators IS 'Every validator of the network in every "
        "stored epoch: a row of network_tiles unpacked and joined to its outcome. Ask for one "
        "epoch; for one validator, network_validator_history is the way.'"
    )
    op.execute(
        f"COMMENT ON FUNCTION {quoted}.network_validator_history IS 'The rows of "
        "network_validators of one validator, first and last epoch included, by epoch.'"
    )


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    assert schema is not None
    quoted = op.get_bind().dialect.identifier_preparer.quote_schema(schema)
    op.execute(f"DROP FUNCTION {quoted}.network_validator_history")
    op.execute(f"DROP VIEW {quoted}.network_validators")
    for name in ("network_tiles", "network_outcomes", "network_states"):
        op.drop_table(name, schema=schema)
