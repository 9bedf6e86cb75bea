"""Locks on things that are not rows: a table's epoch, a schema's migration."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import sqlalchemy as sa


def lock_for_transaction(connection: sa.Connection, *names: str) -> None:
    """Take the locks of ``names`` until the transaction ends, waiting for whoever holds them.

    Always in one order, so that two transactions that want the same locks cannot block each other.
    """
    connection.execute(
        sa.text(
            "SELECT count(pg_advisory_xact_lock(key)) FROM "
            "(SELECT key FROM unnest(CAST(:keys AS bigint[])) WITH ORDINALITY AS k (key, n) "
            "ORDER BY n) AS ordered"
        ),
        {"keys": _keys(names)},
    )


def lock_epochs(
    connection: sa.Connection, schema: str, epochs: Iterable[int], *others: str
) -> None:
    """Take the locks of epochs, and ``others``, until the transaction ends.

    All tables of an epoch have one lock in common: a transaction holds one for each of its epochs,
    and the server's table of locks is small.
    """
    lock_for_transaction(connection, *(f"{schema}.epoch.{epoch}" for epoch in epochs), *others)


def _keys(names: Iterable[str]) -> list[int]:
    """A signed 64-bit key per name, the same on every machine and in every process."""
    digests = {hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names}
    return sorted(int.from_bytes(digest, "big", signed=True) for digest in digests)
