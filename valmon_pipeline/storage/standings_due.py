"""The to-do list ``standings_due``: whose standings rest on facts that were stored since.

Storing an epoch lists it, in the same transaction, as one that spreads: its own standings are due
and those of every later stored epoch whose window contains it. Which these are is found out when
the list is worked off, not when the epoch is stored. At that moment a neighbour may be about to be
committed by another process, unseen; and storing need not know how long windows are.

A mark is the number of the transaction that made it. Whoever makes standings reads the marks
before the facts, and stores rows only by taking away the very mark that was read. If facts of the
window were stored meanwhile, there is a new mark, or one that spreads, and the rows are left to
whoever works it off. So standings are never older than the facts beside them without being listed,
however many processes store and make at once, and wherever one of them is killed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from valmon_pipeline.storage.advisory_locks import lock_for_transaction
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.tables import table_of

STANDINGS: Final = "validator_standings"
DUE: Final = "standings_due"

MATERIALIZED_AGAIN: Final = "materialized again"
"""The reason that is entered when nobody gave one: by hand, or by a backfill over stored epochs."""

MADE_FROM: Final = frozenset(
    {
        *("attestation_outcomes", "effectiveness_scores", "fact_sources"),
        *("network_epochs", "validator_snapshots"),
    }
)
"""The tables that standings are computed from: storing an epoch of any of them makes it due."""

_THIS_TRANSACTION: Final = sa.text("CAST(CAST(pg_current_xact_id() AS text) AS bigint)")


@dataclass(frozen=True, slots=True)
class DueStandings:
    """An epoch whose standings are due, by which transaction's mark, and why."""

    epoch: int
    mark: int
    reason: str


def mark_stored(
    connection: sa.Connection, schema: str, epochs: Collection[int], reason: str
) -> None:
    """List epochs whose facts or scores are stored in this transaction.

    Call it before the lock on ``corrections`` is taken: who works the list off takes both in this
    order, too.
    """
    if epochs:
        _mark(connection, schema, dict.fromkeys(sorted(epochs), reason), spreads=True)


def spread_marks(database: Database, window_epochs: int) -> None:
    """List every stored epoch whose window, that many epochs long, has one that spreads.

    Epochs that retention has dropped since they were listed are taken off the list.

    Raises:
        StorageError: the database is away; the list is as it was.
    """
    schema = database.schema
    due, stored = table_of(schema, DUE), table_of(schema, "network_epochs").c.epoch
    with database.transaction("list whose standings are due") as connection:
        lock_for_transaction(connection, f"{schema}.{DUE}")
        changed = connection.execute(
            sa.delete(due).where(due.c.spreads).returning(due.c.epoch, due.c.reason)
        ).all()
        reasons: dict[int, str] = {}
        for epoch, reason in sorted(changed):
            in_window = sa.and_(stored >= epoch, stored < epoch + window_epochs)
            later = connection.execute(sa.select(stored).where(in_window)).scalars()
            # The nearest change is named as the reason; an epoch's own change is the nearest.
            reasons |= dict.fromkeys(later, reason)
        if reasons:
            _mark(connection, schema, reasons, spreads=False)
        kept = sa.exists().where(stored == due.c.epoch)
        connection.execute(sa.delete(due).where(~due.c.spreads, ~kept))


def list_again(database: Database, epochs: Sequence[int]) -> None:
    """List epochs that are not on the list: their standings are made again.

    Raises:
        StorageError: the database is away; the list is as it was.
    """
    due = table_of(database.schema, DUE)
    with database.transaction("list standings to make again") as connection:
        listed = set(
            connection.execute(
                sa.select(due.c.epoch).where(due.c.epoch.in_(list(epochs)))
            ).scalars()
        )
        if missing := dict.fromkeys(sorted(set(epochs) - listed), MATERIALIZED_AGAIN):
            _mark(connection, database.schema, missing, spreads=False)


def due_standings(database: Database) -> list[DueStandings]:
    """The epochs with scores whose standings are due, ascending; spread the marks before.

    Raises:
        StorageError: the database is away.
    """
    due = table_of(database.schema, DUE).c
    epochs = table_of(database.schema, "network_epochs").c
    query = (
        sa.select(due.epoch, due.mark, due.reason)
        .join_from(
            table_of(database.schema, DUE),
            table_of(database.schema, "network_epochs"),
            due.epoch == epochs.epoch,
        )
        .where(~due.spreads, epochs.formula_version.is_not(None))
        .order_by(due.epoch)
    )
    with database.transaction("read whose standings are due") as connection:
        return [DueStandings(*row) for row in connection.execute(query)]


def take_marks(connection: sa.Connection, schema: str, due: Sequence[DueStandings]) -> set[int]:
    """Take epochs off the list, in the transaction that stores their standings; those whose mark
    is another one by now, or gone, are not among the returned: their standings must not be
    stored."""
    table = table_of(schema, DUE)
    read = [(one.epoch, one.mark) for one in due]
    taken = connection.execute(
        sa.delete(table)
        .where(~table.c.spreads, sa.tuple_(table.c.epoch, table.c.mark).in_(read))
        .returning(table.c.epoch)
    )
    return {int(epoch) for epoch in taken.scalars()}


def _mark(
    connection: sa.Connection, schema: str, reasons: dict[int, str], *, spreads: bool
) -> None:
    """Mark epochs anew. One that spreads goes on doing so until its mark is spread."""
    due = table_of(schema, DUE)
    listed = insert(due).from_select(
        ["epoch", "spreads", "reason", "mark"],
        sa.select(
            sa.func.unnest(sa.literal(list(reasons), sa.ARRAY(sa.Integer))),
            sa.literal(spreads),
            sa.func.unnest(sa.literal(list(reasons.values()), sa.ARRAY(sa.Text))),
            _THIS_TRANSACTION,
        ),
    )
    connection.execute(
        listed.on_conflict_do_update(
            index_elements=[due.c.epoch],
            set_={
                "spreads": due.c.spreads | listed.excluded.spreads,
                "reason": listed.excluded.reason,
                "mark": listed.excluded.mark,
            },
        )
    )
