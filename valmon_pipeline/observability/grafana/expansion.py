"""What Grafana makes of a query before it sends it, for tests and benchmarks."""

from __future__ import annotations

from datetime import datetime

from psycopg import sql


def expanded(
    query: str, variables: dict[str, str], since: datetime, until: datetime, points: int = 1000
) -> str:
    """The query with Grafana's variables and macros replaced, for a plot with room for ``points``.

    Raises:
        ValueError: something of Grafana's is left, e.g. a variable that the dashboard has not.
    """
    replacements = {
        "$__timeFrom()": f"'{since.isoformat()}'",
        "$__timeTo()": f"'{until.isoformat()}'",
        "$__interval_ms": str(max(1, int((until - since).total_seconds() * 1000 / points))),
    }
    for name, value in variables.items():
        replacements[f"${{{name}:doublequote}}"] = sql.Identifier(value).as_string(None)
        replacements[f"${{{name}:sqlstring}}"] = sql.Literal(value).as_string(None)
    for written, meant in replacements.items():
        query = query.replace(written, meant)
    if "$" in query:
        raise ValueError(f"not a variable of this dashboard: {query[query.index('$') :][:40]}")
    return query
