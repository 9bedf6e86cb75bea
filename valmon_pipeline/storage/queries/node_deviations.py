"""Where a node's numbers differ from the specification: one row per node and fact."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.tables import table_of


@dataclass(frozen=True, slots=True)
class NodeDeviation:
    """What a node says about a fact against what the specification says, over all stored epochs.

    ``deviating`` of ``compared`` numbers differ, in ``epochs`` epochs of which ``first_epoch`` and
    ``last_epoch`` are the outermost, by at most ``largest_gwei``. What is stored is what the
    specification says.
    """

    node: str
    fact: str
    epochs: int
    first_epoch: int
    last_epoch: int
    compared: int
    deviating: int
    largest_gwei: int


def node_deviations(database: Database) -> list[NodeDeviation]:
    """The facts that nodes gave other numbers for than the specification, by node and fact.

    Rewards that an epoch credits for the one before are attestation rewards like any other.

    ``compared`` counts the numbers of the epochs with deviations alone.

    Raises:
        StorageError: the database is away or refuses.
    """
    sources = table_of(database.schema, "fact_sources").c
    fact = sa.case(
        (sources.fact == "previous_attestation_rewards", "attestation_rewards"),
        else_=sources.fact,
    ).label("fact")
    epoch_count = sa.func.count(sources.epoch.distinct())
    statement = (
        sa.select(
            *(sources.node, fact, epoch_count),
            *(sa.func.min(sources.epoch), sa.func.max(sources.epoch)),
            sa.cast(sa.func.sum(sources.compared), sa.BigInteger),
            sa.cast(sa.func.sum(sources.deviating), sa.BigInteger),
            sa.func.coalesce(sa.func.max(sources.largest_deviation), 0),
        )
        .where(sources.deviating > 0, sources.node.is_not(None))
        .group_by(sources.node, fact)
        .order_by(sources.node, fact)
    )
    with database.transaction("read where nodes deviate from the specification") as connection:
        rows = connection.execute(statement).all()
    return [
        NodeDeviation(
            node=node,
            fact=name,
            epochs=epochs,
            first_epoch=first,
            last_epoch=last,
            compared=compared or 0,
            deviating=deviating,
            largest_gwei=largest or 0,
        )
        for node, name, epochs, first, last, compared, deviating, largest in rows
    ]
