"""Leases of tokens from the bucket that all processes share for a beacon node.

A lease is one statement, committed by itself, and all its times are the database's: processes and
machines need no clock in common.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.tables import table_of

LEASE_SECONDS: Final = 0.5
"""The tokens that all processes' leases have together: what the rate limit gives in so long."""
ACTIVE: Final = timedelta(seconds=10)
"""A process that leased so recently is counted among those that share the node."""
_FORGOTTEN: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class RateLease:
    """Tokens taken out of a node's bucket.

    Of ``tokens``, ``debt`` are yet to be refilled; it is more than ``tokens`` where other processes
    come first. ``processes`` share the node, this one included. The others had
    ``others_in_flight`` requests under way at most.
    """

    tokens: int
    debt: float
    processes: int
    others_in_flight: int


class RateLeases:
    """Takes leases for one process; ``database`` is opened at the first one."""

    def __init__(self, database: Callable[[], Database]) -> None:
        self._database = database
        self._lessee = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"

    def lease(
        self, node: str, requests_per_second: float, burst: int, in_flight: int, unused: int
    ) -> RateLease:
        """Take this process's share of half a second's tokens of ``node``, at least one.

        ``in_flight`` is the most requests that it had under way since its last lease, of which
        ``unused`` tokens are given back.

        Raises:
            StorageError: the database is away or refuses; nothing was taken.
        """
        database = self._database()
        with database.statement("lease requests to a node") as connection:
            row = connection.execute(
                _statement(database.schema),
                {
                    "node": node,
                    "lessee": self._lessee,
                    "rate": requests_per_second,
                    "burst": float(burst),
                    "in_flight": in_flight,
                    "unused": float(unused),
                },
            ).one()
        return RateLease(int(row.leased), max(0.0, -row.left), row.others + 1, row.others_in_flight)


@cache
def _statement(schema: str) -> sa.Select[tuple[float, float, int, int]]:
    """Count the other processes, note this one, and take its tokens from the bucket.

    Whoever waits for the bucket's row keeps the time at which it began to: the bucket is never
    refilled twice for the same time, nor set back.
    """
    leases, budgets = table_of(schema, "rate_leases"), table_of(schema, "node_budgets")
    now = sa.func.statement_timestamp()
    node = sa.bindparam("node", type_=sa.Text())
    lessee = sa.bindparam("lessee", type_=sa.Text())
    rate: sa.BindParameter[float] = sa.bindparam("rate", type_=sa.Double())
    burst: sa.BindParameter[float] = sa.bindparam("burst", type_=sa.Double())
    in_flight = sa.bindparam("in_flight", type_=sa.Integer())
    unused: sa.BindParameter[float] = sa.bindparam("unused", type_=sa.Double())

    others = (
        sa.select(
            sa.func.count().label("others"),
            sa.func.coalesce(sa.func.sum(leases.c.in_flight), 0).label("others_in_flight"),
        )
        .where(leases.c.node == node, leases.c.lessee != lessee, leases.c.leased_at > now - ACTIVE)
        .cte("others")
    )
    share = rate * LEASE_SECONDS / (others.c.others + 1)
    noted = insert(leases).from_select(
        ["node", "lessee", "tokens", "in_flight", "leased_at"],
        sa.select(node, lessee, sa.func.greatest(1, sa.func.ceil(share)), in_flight, now),
    )
    mine = (
        noted.on_conflict_do_update(
            index_elements=[leases.c.node, leases.c.lessee],
            set_={name: noted.excluded[name] for name in ("tokens", "in_flight", "leased_at")},
        )
        .returning(leases.c.tokens)
        .cte("mine")
    )
    first = insert(budgets).from_select(
        ["node", "tokens", "refilled_at"], sa.select(node, burst - mine.c.tokens, now)
    )
    seconds = sa.func.greatest(0.0, sa.extract("epoch", now - budgets.c.refilled_at))
    refilled = sa.func.least(burst, budgets.c.tokens + unused + rate * seconds)
    budget = (
        first.on_conflict_do_update(
            index_elements=[budgets.c.node],
            set_={
                # excluded.tokens is a full bucket less the lease
                "tokens": refilled - (burst - first.excluded.tokens),
                "refilled_at": sa.func.greatest(budgets.c.refilled_at, now),
            },
        )
        .returning(budgets.c.tokens)
        .cte("budget")
    )
    stale = sa.select(leases.c.lessee).where(
        leases.c.node == node, leases.c.leased_at < now - _FORGOTTEN
    )
    forgotten = (
        sa.delete(leases)
        .where(
            leases.c.node == node,
            leases.c.lessee.in_(stale.with_for_update(skip_locked=True)),
        )
        .cte("forgotten")
    )
    one_row = mine.join(budget, sa.true()).join(others, sa.true())
    return (
        sa.select(
            mine.c.tokens.label("leased"),
            budget.c.tokens.label("left"),
            others.c.others,
            others.c.others_in_flight,
        )
        .select_from(one_row)
        .add_cte(forgotten)
    )
