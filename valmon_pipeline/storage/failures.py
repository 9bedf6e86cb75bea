"""What went wrong in the database, in words: what, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import psycopg
import sqlalchemy as sa

ADVICE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "53100": "The disk of the database is full: free space there, then run it again.",
        "53200": "The database server is out of memory.",
        "40P01": "Another writer was in the way (deadlock): run it again.",
        "40001": "Another writer was in the way: run it again.",
        "55P03": "Another session holds a lock on the table: run it again.",
        "57014": "It took longer than database.statement_timeout_seconds, or was cancelled.",
        "25P03": "The process was silent for database.statement_timeout_seconds: run it again.",
        "57P01": "The database server is shutting down: run it again when it is back.",
        "3F000": "The tables are not there: run `valmon migrate`.",
        "42P01": "The tables are not there: run `valmon migrate`.",
        "42703": "The tables are of another version: run `valmon migrate`.",
        "42501": "The database role lacks the right to do this.",
        "25006": "The server is read-only, perhaps a standby: use the primary's address.",
    }
)
"""By SQLSTATE. Errors of connecting carry none: for those the server's own words must do."""

UNREACHABLE: Final = (
    "Check that the server runs and takes connections, that the database exists, and that "
    "VALMON_DATABASE_URL is right."
)


def explain(error: Exception, purpose: str, address: str, schema: str) -> str:
    """One message for ``error``, raised while trying to ``purpose``; nothing of it was stored."""
    cause = _driver_error(error)
    code = cause.sqlstate if cause is not None else None
    said = _first_lines(cause if cause is not None else error)
    if code is not None:
        advice = ADVICE.get(code, f"PostgreSQL error {code}.")
    elif isinstance(error, sa.exc.TimeoutError):
        advice = "All connections of the pool are busy: raise database.pool_size."
    elif isinstance(cause, psycopg.OperationalError):
        advice = UNREACHABLE
    else:
        advice = "This is unexpected; please report it."
    return f"could not {purpose} (schema {schema} of {address}): {said}. {advice}"


def _driver_error(error: Exception) -> psycopg.Error | None:
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return cause if isinstance(cause, psycopg.Error) else None


def _first_lines(error: Exception) -> str:
    """The server's primary message, or the first line of the driver's; never rows or SQL."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        detail = error.diag.context or ""
        where = detail.splitlines()[0] if detail.startswith("COPY") else ""
        return error.diag.message_primary + (f" [{where}]" if where else "")
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__
