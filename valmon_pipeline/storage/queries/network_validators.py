"""Any validator of the network, watched or not, where the whole network is stored.

``network_states`` by epoch, one tile per day or epoch of ``network_tiles`` by its key, and outcomes
by theirs; all of it in the SQL function ``network_validator_history``.
"""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import sqlalchemy as sa
from psycopg import sql

from valmon_pipeline.chain.status import ValidatorStatus
from valmon_pipeline.storage.database import driver_connection
from valmon_pipeline.storage.queries.buckets import Span
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse

HISTORY_TYPES: Final[dict[str, Any]] = {
    "epoch": "int64",
    "validator_index": "int64",
    "status": pd.CategoricalDtype([*ValidatorStatus]),
    **dict.fromkeys(("active", "eligible", "slashed"), "bool"),
    **dict.fromkeys(("source_timely", "target_timely", "head_timely"), "bool"),
    **dict.fromkeys(("balance", "effective_balance", "inactivity_score"), "int64"),
    **dict.fromkeys(("source_reward", "target_reward", "head_reward"), "int64"),
    **dict.fromkeys(("inactivity_penalty", "total_reward", "ideal_reward"), "int64"),
    **dict.fromkeys(("reward_effectiveness", "percentile_rank"), "float64"),
    **dict.fromkeys(("slot", "committee_index", "committee_position"), "Int64"),
}
"""The columns of the view ``network_validators``."""


def network_epochs(warehouse: Warehouse) -> list[int]:
    """The epochs of which the whole network is stored, ascending."""
    epochs: list[int] = warehouse.read("network_states", columns=["epoch"])["epoch"].tolist()
    return epochs


def network_validator_history(
    warehouse: Warehouse, validator_index: int, span: Span
) -> pd.DataFrame:
    """A validator in every epoch of ``span`` of which the whole network is stored, by epoch.

    Columns: ``HISTORY_TYPES``; amounts are gwei. No rows for a validator that does not exist.

    Raises:
        StorageError: the database is away or refuses.
    """
    query = sql.SQL("SELECT {} FROM {}(%s, %s, %s)").format(
        sql.SQL(", ").join(map(sql.Identifier, HISTORY_TYPES)),
        sql.Identifier(warehouse.schema, "network_validator_history"),
    )
    with (
        warehouse.database.transaction("read a validator of the network") as connection,
        driver_connection(connection).cursor(binary=True) as cursor,
    ):
        rows = cursor.execute(query, [validator_index, span.first, span.last]).fetchall()
    frame = pd.DataFrame(rows, columns=[*HISTORY_TYPES], dtype=object)
    return frame.astype(HISTORY_TYPES)


def network_distribution(warehouse: Warehouse, epoch: int, column: str) -> pd.DataFrame:
    """How many validators of the network had which value in an epoch: ``value`` ascending, and
    ``validators``. ``column`` is one of ``network_outcomes``; NULLs are left out.

    Raises:
        StorageError: the database is away or refuses.
    """
    outcomes = table_of(warehouse.schema, "network_outcomes").c
    value = outcomes[column]
    statement = (
        sa.select(value, sa.func.sum(outcomes.validators))
        .where(outcomes.epoch == epoch, value.is_not(None))
        .group_by(value)
        .order_by(value)
    )
    with warehouse.database.transaction("read the distribution of an epoch") as connection:
        rows = connection.execute(statement).all()
    frame = pd.DataFrame([tuple(row) for row in rows], columns=["value", "validators"])
    return frame.infer_objects().astype({"validators": "int64"})
