"""Whether the sums of a day still are those of what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import numpy as np
import pandas as pd
import sqlalchemy as sa

from valmon_pipeline.frames import conform
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse

SUMMED_DAYS = "summed_days"


def newest_stored_at(warehouse: Warehouse, epochs: Sequence[int]) -> datetime | None:
    """When the last of ``epochs`` was stored; None if none is.

    To be asked before they are read: one that is stored meanwhile makes their sums stale.

    Raises:
        StorageError: the database is away or refuses.
    """
    stored = table_of(warehouse.schema, "network_epochs").c
    query = sa.select(sa.func.max(stored.materialized_at)).where(stored.epoch.in_(list(epochs)))
    with warehouse.database.transaction("read when a day was stored") as connection:
        found: datetime | None = connection.execute(query).scalar_one()
    return found


def summed_from(connection: sa.Connection, schema: str, sums: str) -> dict[date, datetime]:
    """By day, what its sums in the table ``sums`` were made from: ``newest_stored_at`` of then."""
    days = table_of(schema, SUMMED_DAYS).c
    query = sa.select(days.day, days.stored_at).where(days.sums == sums)
    return {row.day: row.stored_at for row in connection.execute(query)}


def are_stale(stored_at: datetime, from_stored_at: datetime | None) -> bool:
    """Whether an epoch was stored again since sums were made. Of sums from before valmon kept note
    of it nobody knows: they count as true."""
    return from_stored_at is not None and from_stored_at != stored_at


def have_news(stored: int, summed_up: int, *, is_stale: bool) -> bool:
    """Whether sums are to be made of ``stored`` epochs, where ``summed_up`` are in them: never of
    fewer than before."""
    return stored > summed_up or (stored == summed_up and is_stale)


def summed_day_frame(day: date, sums: str, stored_at: datetime) -> pd.DataFrame:
    """The row that says what the sums of ``day`` were made from."""
    return conform(
        SUMMED_DAYS,
        {
            "day": np.array([np.datetime64(day, "ns")]),
            "sums": [sums],
            "stored_at": pd.DatetimeIndex([stored_at]),
        },
    )
