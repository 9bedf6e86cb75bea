"""Penalties and block events of one validator, through their index on it."""

from __future__ import annotations

import pandas as pd
import sqlalchemy as sa

from valmon_pipeline.frames import contract_of
from valmon_pipeline.storage.queries.buckets import Span
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
