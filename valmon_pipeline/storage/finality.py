"""Which stored epochs are not final yet, and marking those that are.

Rows of an epoch rest on the last block of its attestation window. Once that root is part of the
finalized chain, nothing about them can change any more: marking them final is one small update.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.tables import table_of


@dataclass(frozen=True, slots=True)
class ProvisionalEpoch:
    """A stored epoch that is not final yet, and the root its rows rest on."""

    epoch: int
    window_root: bytes


def provisional_epochs(database: Database, *, first: int, limit: int) -> list[ProvisionalEpoch]:
    """Epochs from ``first`` on that were stored before they were final, oldest first, at most
    ``limit``.

    Raises:
        StorageError: the database is away.
    """
    epochs = table_of(database.schema, "network_epochs")
    query = (
        sa.select(epochs.c.epoch, epochs.c.window_root)
        .where(~epochs.c.finalized, epochs.c.epoch >= first)
        .order_by(epochs.c.epoch)
        .limit(limit)
    )
    with database.transaction("read which epochs are provisional") as connection:
        return [ProvisionalEpoch(int(row[0]), bytes(row[1])) for row in connection.execute(query)]


def mark_final(database: Database, window_roots: Mapping[int, bytes]) -> list[int]:
    """Mark epochs final whose rows still rest on these roots; the epochs that were marked.

    An epoch that was materialized again meanwhile, on another root, stays as it is.

    Raises:
        StorageError: the database is away; nothing was marked.
    """
    if not window_roots:
        return []
    epochs = table_of(database.schema, "network_epochs")
    query = (
        sa.update(epochs)
        .where(
            ~epochs.c.finalized,
            sa.tuple_(epochs.c.epoch, epochs.c.window_root).in_(sorted(window_roots.items())),
        )
        .values(finalized=True)
        .returning(epochs.c.epoch)
    )
    with database.transaction("mark epochs final") as connection:
        return sorted(int(row[0]) for row in connection.execute(query))


def stored_epochs(database: Database, *, first: int, last: int) -> list[int]:
    """The epochs of ``first`` to ``last`` that are stored with their scores, final or not,
    ascending.

    Raises:
        StorageError: the database is away.
    """
    epochs = table_of(database.schema, "network_epochs")
    query = (
        sa.select(epochs.c.epoch)
        .where(epochs.c.epoch.between(first, last), epochs.c.formula_version.is_not(None))
        .order_by(epochs.c.epoch)
    )
    with database.transaction("read which epochs are stored") as connection:
        return [int(epoch) for epoch in connection.execute(query).scalars()]


def first_stored_epoch(database: Database) -> int | None:
    """The oldest epoch that is stored, None if there is none.

    Raises:
        StorageError: the database is away.
    """
    epochs = table_of(database.schema, "network_epochs")
    with database.transaction("read the first stored epoch") as connection:
        first: int | None = connection.execute(sa.select(sa.func.min(epochs.c.epoch))).scalar_one()
    return first


def last_stored_epoch(database: Database) -> int | None:
    """The newest epoch that is stored, None if there is none.

    Raises:
        StorageError: the database is away.
    """
    epochs = table_of(database.schema, "network_epochs")
    with database.transaction("read the newest stored epoch") as connection:
        last: int | None = connection.execute(sa.select(sa.func.max(epochs.c.epoch))).scalar_one()
    return last
