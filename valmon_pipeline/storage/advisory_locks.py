"""Locks on things that are not rows: a table's epoch, a schema's migration."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import sqlalchemy as sa


def lock_for_transaction(connection: sa.Connection, *names: str) -> None:
    """Take the locks of ``names`` until the transaction ends, waiting for whoever holds them.

    Always in one order, so that two transactions that want the same locks cannot block each other.
    """
    for key in _keys(names):
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def _keys(names: Iterable[str]) -> list[int]:
    """A signed 64-bit key per name, the same on every machine and in every process."""
    digests = {hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names}
    return sorted(int.from_bytes(digest, "big", signed=True) for digest in digests)
