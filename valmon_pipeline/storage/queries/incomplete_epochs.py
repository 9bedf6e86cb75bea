"""Facts that stored epochs lack: which, why, and where the others came from.

``network_epochs.missing_facts`` counts them, ``fact_sources`` has a row per epoch and fact, also of
those that are not known. Epochs that were stored before there was such a table have no rows in it,
and lack nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.tables import table_of


class Lack(NamedTuple):
    """A fact that a stored epoch lacks, and why."""

    epoch: int
    fact: str
    reason: str


class IncompleteEpoch(NamedTuple):
    """A stored epoch that lacks ``facts`` (their stored names, sorted); ``node`` answered about
    it."""

    epoch: int
    facts: tuple[str, ...]
    node: str


@dataclass(frozen=True, slots=True)
class MissingFact:
    """A fact that some stored epochs lack: how many, the oldest and the newest of them, and the
    reason most of them have in common."""

    fact: str
    epochs: int
    oldest_epoch: int
    newest_epoch: int
    reason: str
    epochs_with_reason: int


@dataclass(frozen=True, slots=True)
class Incompleteness:
    """What stored epochs lack: how many of them lack anything, which is the oldest and the newest,
    and what it is, the fact that most epochs lack first."""

    epochs: int
    oldest_epoch: int | None
    newest_epoch: int | None
    facts: tuple[MissingFact, ...]

    @property
    def facts_missing(self) -> int:
        """How many facts are missing, over all epochs."""
        return sum(fact.epochs for fact in self.facts)


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A row of ``fact_sources`` without its epoch; see there."""

    fact: str
    source: str | None
    node: str | None
    reason: str | None
    compared: int | None
    deviating: int | None
    largest_deviation: int | None


def incomplete_epochs(
    database: Database, first: int, last: int, limit: int
) -> list[IncompleteEpoch]:
    """The epochs of ``first`` to ``last`` that are stored and lack a fact, the newest first, at
    most ``limit``.

    Nodes drop what is old: what can still be completed is more likely among the newest.

    Raises:
        StorageError: the database is away or refuses.
    """
    epochs = table_of(database.schema, "network_epochs").c
    sources = table_of(database.schema, "fact_sources").c
    chosen = (
        sa.select(epochs.epoch, epochs.node)
        .where(epochs.missing_facts > 0, epochs.epoch.between(first, last))
        .order_by(epochs.epoch.desc())
        .limit(limit)
        .subquery("chosen")
    )
    statement = (
        sa.select(chosen.c.epoch, chosen.c.node, sources.fact)
        .outerjoin_from(
            chosen,
            sources.epoch.table,
            sa.and_(
                sources.epoch == chosen.c.epoch,
                sources.epoch.between(first, last),
                sources.source.is_(None),
            ),
        )
        .order_by(chosen.c.epoch.desc(), sources.fact)
    )
    found: dict[int, tuple[str, list[str]]] = {}
    with database.transaction("read which epochs are incomplete") as connection:
        for epoch, node, fact in connection.execute(statement):
            facts = found.setdefault(int(epoch), (node, []))[1]
            if fact is not None:
                facts.append(fact)
    return [
        IncompleteEpoch(epoch, tuple(sorted(facts)), node) for epoch, (node, facts) in found.items()
    ]


def lacks_of(database: Database, epochs: Sequence[int]) -> list[Lack]:
    """Every fact that any of ``epochs`` lacks, by epoch and fact.

    Raises:
        StorageError: the database is away or refuses.
    """
    if not epochs:
        return []
    sources = table_of(database.schema, "fact_sources").c
    statement = (
        sa.select(sources.epoch, sources.fact, sources.reason)
        .where(sources.epoch.between(min(epochs), max(epochs)), sources.source.is_(None))
        .order_by(sources.epoch, sources.fact)
    )
    wanted = set(epochs)
    with database.transaction("read which facts are missing") as connection:
        return [
            Lack(epoch, fact, reason or "")
            for epoch, fact, reason in connection.execute(statement)
            if epoch in wanted
        ]


def missing_facts(database: Database, epochs: Sequence[int]) -> dict[int, frozenset[str]]:
    """The stored names of the facts that are not known, by epoch; only of ``epochs`` that lack
    any.

    Raises:
        StorageError: the database is away or refuses.
    """
    found: dict[int, set[str]] = {}
    for lack in lacks_of(database, epochs):
        found.setdefault(lack.epoch, set()).add(lack.fact)
    return {epoch: frozenset(facts) for epoch, facts in found.items()}


def incompleteness(database: Database) -> Incompleteness:
    """What all stored epochs lack.

    Raises:
        StorageError: the database is away or refuses.
    """
    with database.transaction("count what stored epochs lack") as connection:
        return count_incompleteness(connection, database.schema)


def count_incompleteness(connection: sa.Connection, schema: str) -> Incompleteness:
    """``incompleteness`` within a transaction. Only the sources of incomplete epochs are read."""
    epochs = table_of(schema, "network_epochs").c
    sources = table_of(schema, "fact_sources").c
    incomplete = epochs.missing_facts > 0
    count, oldest, newest = connection.execute(
        sa.select(sa.func.count(), sa.func.min(epochs.epoch), sa.func.max(epochs.epoch)).where(
            incomplete
        )
    ).one()
    if not count:
        return Incompleteness(0, None, None, ())
    of_reason = (
        sa.select(
            sources.fact,
            sources.reason,
            sa.func.count().label("epochs"),
            sa.func.min(sources.epoch).label("oldest"),
            sa.func.max(sources.epoch).label("newest"),
        )
        .join_from(sources.epoch.table, epochs.epoch.table, epochs.epoch == sources.epoch)
        .where(incomplete, sources.source.is_(None), sources.epoch.between(oldest, newest))
        .group_by(sources.fact, sources.reason)
        .order_by(sa.func.count().desc(), sources.fact, sources.reason)
    )
    by_fact: dict[str, list[Any]] = {}
    for row in connection.execute(of_reason):
        by_fact.setdefault(row.fact, []).append(row)
    facts = [
        MissingFact(
            fact,
            sum(row.epochs for row in rows),
            min(row.oldest for row in rows),
            max(row.newest for row in rows),
            rows[0].reason or "",
            rows[0].epochs,
        )
        for fact, rows in by_fact.items()
    ]
    facts.sort(key=lambda one: (-one.epochs, one.fact))
    return Incompleteness(count, oldest, newest, tuple(facts))


def count_missing(connection: sa.Connection, schema: str) -> tuple[int, dict[str, int]]:
    """How many stored epochs lack a fact, and how many lack which."""
    epochs = table_of(schema, "network_epochs").c
    sources = table_of(schema, "fact_sources").c
    incomplete: int = connection.execute(
        sa.select(sa.func.count()).where(epochs.missing_facts > 0)
    ).scalar_one()
    facts = (
        sa.select(sources.fact, sa.func.count())
        .where(sources.source.is_(None))
        .group_by(sources.fact)
        .order_by(sources.fact)
    )
    return incomplete, {fact: int(count) for fact, count in connection.execute(facts)}


def epoch_sources(database: Database, epoch: int) -> list[StoredSource]:
    """Where each fact of an epoch came from, or why it is missing, by the name of the fact.

    Raises:
        StorageError: the database is away or refuses.
    """
    sources = table_of(database.schema, "fact_sources").c
    statement = (
        sa.select(
            *(sources.fact, sources.source, sources.node, sources.reason),
            *(sources.compared, sources.deviating, sources.largest_deviation),
        )
        .where(sources.epoch == epoch)
        .order_by(sources.fact)
    )
    with database.transaction("read the sources of an epoch") as connection:
        return [StoredSource(*row) for row in connection.execute(statement)]
