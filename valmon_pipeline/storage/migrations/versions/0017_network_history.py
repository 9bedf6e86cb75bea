"""A validator's history outcome by outcome: one probe per day and outcome instead of one per epoch,
by the index that lies as the rows do."""

from __future__ import annotations

from importlib import import_module

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# Every part depends on those before, so that there is no join whose order the planner could choose:
# what it believes about how many rows there are is far off, above all in a prepared statement. For
# the same reason it would compile the query (jit), which takes longer than to run it.
HISTORY = """
CREATE OR REPLACE FUNCTION {schema}.network_validator_history(
    validator integer, from_epoch integer, to_epoch integer
) RETURNS SETOF {schema}.network_validators
LANGUAGE sql STABLE PARALLEL SAFE SET jit = off
BEGIN ATOMIC
SELECT
    o.epoch,
    validator AS validator_index,
    o.status,
    o.active,
    o.eligible,
    o.slashed,
    o.source_timely,
    o.target_timely,
    o.head_timely,
    t.balance[o.place] AS balance,
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
    CASE WHEN t.committee[o.place] >= 0 THEN
        o.epoch * (SELECT slots_per_epoch FROM {schema}.network_identity)
        + t.committee[o.place] / g.committees_per_slot END AS slot,
    CASE WHEN t.committee[o.place] >= 0 THEN
        t.committee[o.place] % g.committees_per_slot END AS committee_index,
    CASE WHEN t.committee[o.place] >= 0 THEN
        t.committee_position[o.place]::integer END AS committee_position
FROM (
    SELECT
        tile_epoch,
        tile_epochs,
        validator - validator % tile_validators AS first_validator,
        validator % tile_validators * tile_epochs + 1 AS low,
        (validator % tile_validators + 1) * tile_epochs AS high,
        array_agg(epoch) AS epochs,
        array_agg(committees_per_slot) AS committees_per_slot
    FROM {schema}.network_states
    WHERE epoch BETWEEN from_epoch AND to_epoch
    GROUP BY tile_epoch, tile_epochs, tile_validators
) tiles
CROSS JOIN LATERAL (
    SELECT outcome, committee, committee_position, (
        SELECT array_agg(balance ORDER BY place)
        FROM (
            SELECT
                place,
                sum(ether) OVER until_then * 1000000000 + sum(gwei) OVER until_then AS balance
            FROM unnest(balance_ether, balance_gwei) WITH ORDINALITY AS e(ether, gwei, place)
            WINDOW until_then AS (ORDER BY place ROWS UNBOUNDED PRECEDING)
        ) balances
    ) AS balance
    FROM (
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
        LIMIT 1
    ) tile
    OFFSET 0
) t
CROSS JOIN LATERAL (
    SELECT
        t.outcome[s.epoch - tiles.tile_epoch + 1] AS outcome,
        s.committees_per_slot,
        array_agg(s.epoch) AS epochs,
        min(s.epoch) AS first_epoch,
        max(s.epoch) AS last_epoch
    FROM unnest(tiles.epochs, tiles.committees_per_slot) AS s(epoch, committees_per_slot)
    GROUP BY 1, 2
    OFFSET 0
) g
CROSS JOIN LATERAL (
    SELECT *, epoch - tiles.tile_epoch + 1 AS place
    FROM {schema}.network_outcomes
    WHERE outcome = g.outcome
      AND epoch = ANY (g.epochs)
      -- For the choice of the child table, which an array is not good for.
      AND epoch BETWEEN g.first_epoch AND g.last_epoch
    OFFSET 0
) o
ORDER BY o.epoch;
END
"""

# Of two indexes that would do, PostgreSQL takes the one made last: that was the primary key.
MADE_TOO_EARLY = """
SELECT indexrelid::regclass::text, indrelid::regclass::text
FROM pg_index JOIN pg_inherits ON inhrelid = indrelid
WHERE inhparent = '{schema}.network_outcomes'::regclass AND NOT indisunique
"""


def upgrade() -> None:
    schema = _schema()
    op.execute(HISTORY.format(schema=schema))
    for index, child in op.get_bind().exec_driver_sql(MADE_TOO_EARLY.format(schema=schema)).all():
        op.execute(f"DROP INDEX {index}")
        op.execute(f"CREATE INDEX ON {child} (outcome, epoch)")


def downgrade() -> None:
    before = import_module("valmon_pipeline.storage.migrations.versions.0015_network_balances")
    schema = _schema()
    history = before.HISTORY.format(
        schema=schema,
        columns=before.COLUMNS.format(schema=schema, validator="validator"),
        **{name: before.CHANGES_IN_HISTORY.format(name=name) for name in before.BALANCES},
    )
    op.execute(history.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))


def _schema() -> str:
    schema = op.get_context().version_table_schema
    assert schema is not None
    return op.get_bind().dialect.identifier_preparer.quote_schema(schema)
