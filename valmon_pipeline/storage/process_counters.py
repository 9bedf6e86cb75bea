"""What all processes of an installation have counted, added up: counts of processes that ended
stay, and none ever goes down."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.telemetry.process_counts import ProcessCounts, Series

logger = logging.getLogger(__name__)

COUNTERS: Final = "process_counters"
STORE_SECONDS: Final = 10.0


def add_counts(database: Database, counts: Mapping[Series, float]) -> None:
    """Add to the stored counts.

    Rows are locked in the order of their key, so that processes wait for each other in turn.

    Raises:
        StorageError: the database is away or refuses; nothing was added.
    """
    table = table_of(database.schema, COUNTERS)
    rows = [
        {"metric": metric, "labels": labels, "value": value}
        for (metric, labels), value in sorted(counts.items())
    ]
    statement = insert(table).values(rows)
    statement = statement.on_conflict_do_update(
        index_elements=[table.c.metric, table.c.labels],
        set_={"value": table.c.value + statement.excluded.value},
    )
    with database.transaction("add to the counters") as connection:
        connection.execute(statement)


def stored_counts(connection: sa.Connection, schema: str) -> dict[Series, float]:
    """What all processes have counted so far."""
    table = table_of(schema, COUNTERS).c
    rows = connection.execute(sa.select(table.metric, table.labels, table.value))
    return {(metric, labels): value for metric, labels, value in rows}


class CountStore:
    """Adds a process's counts to those in a database, now and then."""

    def __init__(self, counts: ProcessCounts, store_seconds: float = STORE_SECONDS) -> None:
        self._counts = counts
        self._store_seconds = store_seconds
        self._lock = threading.Lock()
        self._stored_at = -store_seconds

    def store(self, database: Callable[[], Database], *, if_due: bool = False) -> None:
        """Add what was counted, or with ``if_due`` only if that was not done a few seconds ago.

        Counts are no facts: a database that is away fails nobody, and gets them the next time.
        """
        with self._lock:
            if if_due and time.monotonic() - self._stored_at < self._store_seconds:
                return
            self._stored_at = time.monotonic()
            try:
                opened = database()
                self._counts.store(lambda grown: add_counts(opened, grown))
            except StorageError as error:
                logger.warning("%s", error)
