"""Balances of packed tiles as changes since the epoch before: most epochs change a balance by the
same amount, and that costs next to nothing."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

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
    (u.balance_ether * 1000000000::bigint + u.balance_gwei)::bigint AS balance,
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

VIEW = """
CREATE VIEW {schema}.network_validators AS
SELECT {columns}
FROM {schema}.network_states s
CROSS JOIN LATERAL (
    SELECT
        t.first_validator + n AS validator_index,
        a.outcome[p.place] AS outcome,
        {balance_ether},
        {balance_gwei},
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
        {balance_ether},
        {balance_gwei},
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

BALANCES = ("balance_ether", "balance_gwei")

# The elements of a packed tile from what they are now, validator by validator.
CONVERT = """
UPDATE {schema}.network_tiles t SET {assignments} WHERE t.epochs > 1
"""
TO_CHANGES = """{name} = (
    SELECT array_agg(value - coalesce(before, 0) ORDER BY place)
    FROM (
        SELECT value, place,
            lag(value) OVER (PARTITION BY (place - 1) / t.epochs ORDER BY place) AS before
        FROM unnest(t.{name}) WITH ORDINALITY AS u(value, place)
    ) v
)"""
TO_VALUES = """{name} = (
    SELECT array_agg(value::integer ORDER BY place)
    FROM (
        SELECT place,
            sum(value) OVER (PARTITION BY (place - 1) / t.epochs ORDER BY place) AS value
        FROM unnest(t.{name}) WITH ORDINALITY AS u(value, place)
    ) v
)"""


# How the view and the function come to a balance. In the view, single epochs are read as they are:
# sums over one element would take twice as long.
VALUE_IN_VIEW = "a.{name}[p.place] AS {name}"
CHANGES_IN_VIEW = (
    "CASE WHEN s.tile_epochs = 1 THEN a.{name}[p.place] ELSE "
    "(SELECT sum(x) FROM unnest(a.{name}[n * s.tile_epochs + 1:p.place]) AS x) END AS {name}"
)
VALUE_IN_HISTORY = "e.{name}"
CHANGES_IN_HISTORY = (
    "sum(e.{name}) OVER (PARTITION BY tiles.tile_epoch, tiles.tile_epochs ORDER BY e.place) "
    "AS {name}"
)


def upgrade() -> None:
    _define(CHANGES_IN_VIEW, CHANGES_IN_HISTORY, TO_CHANGES)


def downgrade() -> None:
    _define(VALUE_IN_VIEW, VALUE_IN_HISTORY, TO_VALUES)


def _define(in_view: str, in_history: str, conversion: str) -> None:
    """Make the view and the function anew around these two columns, and convert what is packed."""
    schema = op.get_context().version_table_schema
    assert schema is not None
    quoted = op.get_bind().dialect.identifier_preparer.quote_schema(schema)
    assignments = ", ".join(conversion.format(name=name) for name in BALANCES)
    op.execute(CONVERT.format(schema=quoted, assignments=assignments))
    # The types of the view's columns differ, and the function returns the view's rows.
    op.execute(f"DROP FUNCTION {quoted}.network_validator_history")
    op.execute(f"DROP VIEW {quoted}.network_validators")
    op.execute(
        VIEW.format(
            schema=quoted,
            columns=COLUMNS.format(schema=quoted, validator="u.validator_index"),
            **{name: in_view.format(name=name) for name in BALANCES},
        )
    )
    op.execute(
        HISTORY.format(
            schema=quoted,
            columns=COLUMNS.format(schema=quoted, validator="validator"),
            **{name: in_history.format(name=name) for name in BALANCES},
        )
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
