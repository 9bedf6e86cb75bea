"""Which facts a stored epoch rests on: what is known already is not replaced by NULL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from valmon_pipeline.storage.tables import table_of


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """A stored epoch: the root of its window's last block, and the facts that are known of it."""

    window_root: bytes
    known: frozenset[str]
    missing: frozenset[str]

    def would_lose(self, window_root: bytes, missing: frozenset[str]) -> bool:
        """Whether rows on the same chain that lack ``missing`` would turn known values to NULL."""
        return self.window_root == window_root and bool(self.known & missing)


def stored_facts(connection: sa.Connection, schema: str, epoch: int) -> StoredFacts | None:
    """Return the facts that ``epoch`` is stored with; None if it is not stored."""
    epochs = table_of(schema, "network_epochs").c
    sources = table_of(schema, "fact_sources").c
    root = connection.execute(sa.select(epochs.window_root).where(epochs.epoch == epoch)).scalar()
    if root is None:
        return None
    rows = connection.execute(
        sa.select(sources.fact, sources.source.is_not(None)).where(sources.epoch == epoch)
    ).all()
    return StoredFacts(
        bytes(root),
        frozenset(fact for fact, is_known in rows if is_known),
        frozenset(fact for fact, is_known in rows if not is_known),
    )


def epochs_without(
    connection: sa.Connection, schema: str, fact: str, epochs: Sequence[int]
) -> set[int]:
    """Those of ``epochs`` that are stored without ``fact``."""
    sources = table_of(schema, "fact_sources").c
    query = sa.select(sources.epoch).where(
        sources.fact == fact, sources.source.is_(None), sources.epoch.in_(list(epochs))
    )
    return {int(epoch) for epoch in connection.execute(query).scalars()}
