"""Alerts, and what happened to each."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import sqlalchemy as sa

from valmon_pipeline.alerting.kinds import LIVE_STATUSES, AlertStatus
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse


def list_alerts(
    warehouse: Warehouse,
    *,
    live_only: bool,
    limit: int,
    resolved_since: datetime | None = None,
    validator: int | None = None,
) -> pd.DataFrame:
    """The newest ``limit`` alerts, newest first; columns: those of ``alerts``.

    ``resolved_since``: those that were resolved from then on; ``validator``: those about it.

    Raises:
        StorageError: the database is away or refuses.
    """
    alerts = table_of(warehouse.schema, "alerts")
    query = sa.select(alerts).order_by(alerts.c.alert_id.desc()).limit(limit)
    if live_only:
        query = query.where(alerts.c.status.in_([status.value for status in LIVE_STATUSES]))
    if resolved_since is not None:
        query = query.where(
            alerts.c.status == AlertStatus.RESOLVED.value, alerts.c.resolved_at >= resolved_since
        )
    if validator is not None:
        whose = table_of(warehouse.schema, "alert_validators").c
        query = query.where(
            alerts.c.alert_id.in_(
                sa.select(whose.alert_id).where(whose.validator_index == validator)
            )
        )
    return _frame(warehouse, query)


def alert_validators(warehouse: Warehouse, alert_id: int) -> list[int]:
    """The validators that an alert is about, ascending.

    Raises:
        StorageError: the database is away or refuses.
    """
    validators = table_of(warehouse.schema, "alert_validators").c
    query = (
        sa.select(validators.validator_index)
        .where(validators.alert_id == alert_id)
        .order_by(validators.validator_index)
    )
    with warehouse.database.transaction("read the validators of an alert") as connection:
        return list(connection.execute(query).scalars())


def alert_history(warehouse: Warehouse, alert_id: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One alert, none or one row, and its changes in their order.

    Raises:
        StorageError: the database is away or refuses.
    """
    alerts = table_of(warehouse.schema, "alerts")
    changes = table_of(warehouse.schema, "alert_changes")
    return (
        _frame(warehouse, sa.select(alerts).where(alerts.c.alert_id == alert_id)),
        _frame(
            warehouse,
            sa.select(changes).where(changes.c.alert_id == alert_id).order_by(changes.c.position),
        ),
    )


def alert_deliveries(warehouse: Warehouse, alert_id: int) -> pd.DataFrame:
    """Who was told of an alert and how that went, in the order of the messages.

    Columns: those of ``alert_deliveries``, without the body.

    Raises:
        StorageError: the database is away or refuses.
    """
    outbox = table_of(warehouse.schema, "alert_deliveries")
    columns = [column for column in outbox.c if column.name != "body"]
    query = sa.select(*columns).where(outbox.c.alert_id == alert_id).order_by(outbox.c.delivery_id)
    return _frame(warehouse, query)


def count_dead_deliveries(warehouse: Warehouse) -> int:
    """How many messages were given up.

    Raises:
        StorageError: the database is away or refuses.
    """
    outbox = table_of(warehouse.schema, "alert_deliveries")
    query = sa.select(sa.func.count()).where(outbox.c.status == "dead")
    with warehouse.database.transaction("count messages that were given up") as connection:
        return int(connection.execute(query).scalar_one())


def _frame(warehouse: Warehouse, query: sa.Select[*tuple[object, ...]]) -> pd.DataFrame:
    with warehouse.database.transaction("read alerts") as connection:
        result = connection.execute(query)
        names = list(result.keys())
        return pd.DataFrame([tuple(row) for row in result], columns=names, dtype=object)
