"""Leases of requests, as processes get them from PostgreSQL."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa

from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.rate_leases import RateLease, RateLeases
from valmon_pipeline.storage.tables import table_of


@pytest.fixture
def first(database: Database) -> RateLeases:
    return RateLeases(lambda: database)


@pytest.fixture
def second(database: Database) -> RateLeases:
    return RateLeases(lambda: database)


def test_a_process_alone_gets_tokens_for_half_a_second(first: RateLeases) -> None:
    assert first.lease("node", 20, 100, 0, 0) == RateLease(10, 0.0, 1, 0)


def test_processes_share_them(first: RateLeases, second: RateLeases) -> None:
    first.lease("node", 20, 100, 7, 0)
    assert second.lease("node", 20, 100, 2, 0) == RateLease(5, 0.0, 2, 7)
    assert first.lease("node", 20, 100, 7, 0) == RateLease(5, 0.0, 2, 2)


def test_nodes_have_buckets_of_their_own(first: RateLeases, second: RateLeases) -> None:
    first.lease("node", 1, 1, 3, 0)
    assert second.lease("other", 1, 1, 0, 0) == RateLease(1, 0.0, 1, 0)


def test_a_slow_node_gives_one_token_at_least(first: RateLeases, second: RateLeases) -> None:
    assert first.lease("node", 0.1, 1, 0, 0) == RateLease(1, 0.0, 1, 0)
    late = second.lease("node", 0.1, 1, 0, 0)
    assert late.tokens == 1
    assert late.debt == pytest.approx(1, abs=0.2)


def test_the_bucket_is_refilled_by_the_databases_clock(first: RateLeases) -> None:
    started = time.monotonic()
    leased = sum(first.lease("node", 1000, 500, 0, 0).tokens for _ in range(5))
    debt = first.lease("node", 1000, 500, 0, 0).debt
    leased += 500
    passed = time.monotonic() - started
    assert leased == 3000
    # 500 were there at first, and 1000 a second have come since
    assert debt >= leased - 500 - 1000 * passed - 1
    assert debt <= leased - 500


def test_tokens_that_were_not_used_are_given_back(first: RateLeases) -> None:
    assert first.lease("node", 0.1, 4, 0, 0).debt == 0
    assert [first.lease("node", 0.1, 4, 0, 1).debt for _ in range(10)] == [0] * 10
    assert first.lease("node", 0.1, 4, 0, 1000).debt == 0
    debts = [first.lease("node", 0.1, 4, 0, 0).debt for _ in range(4)]
    assert debts[:3] == [0, 0, 0]
    assert debts[3] == pytest.approx(1, abs=0.2)


def test_processes_that_ended_are_no_longer_counted(
    database: Database, first: RateLeases, second: RateLeases
) -> None:
    first.lease("node", 20, 100, 7, 0)
    _age(database, "20 seconds")
    assert second.lease("node", 20, 100, 0, 0).processes == 1
    assert _lessees(database) == 2
    _age(database, "2 hours")
    second.lease("node", 20, 100, 0, 0)
    assert _lessees(database) == 1


def test_a_database_without_the_tables_is_an_error_that_says_so(database_url: str) -> None:
    empty = Database(database_url, "nothing_here")
    with pytest.raises(StorageError, match=r"could not lease requests to a node.*valmon migrate"):
        RateLeases(lambda: empty).lease("node", 20, 100, 0, 0)
    empty.close()


def _age(database: Database, by: str) -> None:
    leases = table_of(database.schema, "rate_leases")
    with database.transaction("age leases") as connection:
        connection.execute(
            sa.update(leases).values(leased_at=leases.c.leased_at - sa.text(f"interval '{by}'"))
        )


def _lessees(database: Database) -> int:
    leases = table_of(database.schema, "rate_leases")
    with database.transaction("count leases") as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(leases)).scalar_one()
