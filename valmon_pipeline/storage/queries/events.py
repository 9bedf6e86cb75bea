"""Penalties and block events: of one validator through their index on it, of groups by epoch."""

from __future__ import annotations

from typing import Final

import pandas as pd
import sqlalchemy as sa
from psycopg import sql

from valmon_pipeline.frames import contract_of
from valmon_pipeline.scoring.groups import EVERYBODY, UNLABELLED
from valmon_pipeline.storage.database import driver_connection
from valmon_pipeline.storage.queries.buckets import Span
from valmon_pipeline.storage.queries.label_join import LABEL_JOIN
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse


def validator_penalties(warehouse: Warehouse, validator_index: int, span: Span) -> pd.DataFrame:
    """The penalties of a validator by slot: ``epoch``, ``slot``, ``penalty_type``,
    ``penalty_gwei``.

    Raises:
        StorageError: the database is away or refuses.
    """
    table = table_of(warehouse.schema, "validator_penalties")
    columns = ["epoch", "slot", "penalty_type", "penalty_gwei"]
    statement = (
        sa.select(*(table.c[name] for name in columns))
        .where(table.c.validator_index == validator_index)
        .where(table.c.epoch.between(span.first, span.last))
        .order_by(table.c.epoch, table.c.slot, table.c.penalty_type)
    )
    with warehouse.database.transaction("read penalties") as connection:
        rows = connection.execute(statement).all()
    read = pd.DataFrame(rows, columns=columns, dtype=object)
    whole = dict.fromkeys(("epoch", "slot", "penalty_gwei"), "int64")
    return read.astype(whole | {"penalty_type": "str"})


def validator_events(warehouse: Warehouse, validator_index: int, span: Span) -> pd.DataFrame:
    """The block events of a validator, also as target of a consolidation or proposer that is paid
    for a slashing, in the order of the chain. Columns: those of ``block_events``.

    Raises:
        StorageError: the database is away or refuses.
    """
    table = table_of(warehouse.schema, "block_events")
    statement = (
        sa.select(table)
        .where(
            sa.or_(
                table.c.validator_index == validator_index,
                table.c.target_index == validator_index,
            )
        )
        .where(table.c.epoch.between(span.first, span.last))
        .order_by(table.c.epoch, table.c.slot, table.c.position)
    )
    with warehouse.database.transaction("read block events") as connection:
        rows = connection.execute(statement).all()
    read = pd.DataFrame(rows, columns=list(contract_of("block_events").columns), dtype=object)
    types = dict.fromkeys(("epoch", "slot", "position"), "int64")
    types |= dict.fromkeys(("validator_index", "target_index", "amount_gwei"), "Int64")
    return read.astype(types | {"event_type": "str", "effective": "boolean"})


def penalties_by_group(
    warehouse: Warehouse, span: Span, category: str = EVERYBODY[0]
) -> pd.DataFrame:
    """Penalties per group and kind: ``value``, ``penalty_type``, ``count``, ``penalty_gwei``.

    Groups are as in ``ledger_by_epoch``.

    Raises:
        StorageError: the database is away or refuses.
    """
    rows = _by_group(warehouse, span, category, _PENALTIES, "read the penalties of groups")
    columns = ["value", "penalty_type", "count", "penalty_gwei"]
    read = pd.DataFrame(rows, columns=columns, dtype=object)
    return read.astype(
        {"value": "str", "penalty_type": "str", "count": "int64", "penalty_gwei": "int64"}
    )


def missed_proposals_by_group(
    warehouse: Warehouse, span: Span, category: str = EVERYBODY[0]
) -> pd.DataFrame:
    """Blocks that watched validators did not get onto the chain: ``value``, ``proposals_missed``,
    ``missed_estimate`` (gwei; NULL where unknown for any of them).

    Groups are as in ``ledger_by_epoch``; those that missed none have no row.

    Raises:
        StorageError: the database is away or refuses.
    """
    rows = _by_group(warehouse, span, category, _MISSED_PROPOSALS, "read missed proposals")
    columns = ["value", "proposals_missed", "missed_estimate"]
    read = pd.DataFrame(rows, columns=columns, dtype=object)
    return read.astype({"value": "str", "proposals_missed": "int64", "missed_estimate": "Int64"})


def _by_group(
    warehouse: Warehouse, span: Span, category: str, query: str, purpose: str
) -> list[tuple[object, ...]]:
    everybody = category == EVERYBODY[0]
    identifiers = {
        name: sql.Identifier(warehouse.schema, name)
        for name in (
            *("validator_penalties", "block_rewards", "validator_labels"),
            "effectiveness_scores",
        )
    }
    composed = sql.SQL(query).format(
        label=sql.SQL("%(everybody)s::text" if everybody else "coalesce(labels.value, %(none)s)"),
        join=sql.SQL("" if everybody else LABEL_JOIN).format(**identifiers),
        **identifiers,
    )
    parameters = {
        "first": span.first,
        "last": span.last,
        "category": category,
        "everybody": EVERYBODY[1],
        "none": UNLABELLED,
    }
    with warehouse.database.transaction(purpose) as connection:
        return driver_connection(connection).execute(composed, parameters).fetchall()


_PENALTIES: Final = """
SELECT {label} AS value, penalty_type, count(*), sum(penalty_gwei)::bigint
  FROM {validator_penalties} AS facts {join}
 WHERE facts.epoch BETWEEN %(first)s AND %(last)s
 GROUP BY 1, 2 ORDER BY 1, 2
"""

# Rewards are stored of every block: those of validators without a score then are not watched.
_MISSED_PROPOSALS: Final = """
SELECT {label} AS value, count(*),
       CASE WHEN count(missed_estimate) = count(*) THEN sum(missed_estimate)::bigint END
  FROM (
    SELECT blocks.epoch, blocks.proposer_index AS validator_index, blocks.missed_estimate
      FROM {block_rewards} AS blocks
      JOIN {effectiveness_scores} AS watched
        ON watched.epoch = blocks.epoch AND watched.validator_index = blocks.proposer_index
     WHERE blocks.epoch BETWEEN %(first)s AND %(last)s AND blocks.outcome <> 'proposed'
  ) AS facts {join}
 GROUP BY 1 ORDER BY 1
"""
