"""What the command line, checks and reports ask the database. Each question has an index behind it.

- ``storage_status``: the keys of the small table ``network_epochs``, and the catalogue.
- ``validator_history``: the key (epoch, validator_index), one probe per epoch; proposals by their
own
  index on the validator.
- ``group_summary``: the key (epoch, category, value) of the small table ``epoch_summaries``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from valmon_pipeline.frames import TABLES
from valmon_pipeline.scoring.groups import EVERYBODY, UNLABELLED
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse

EXACT_COUNT_BYTES: Final = 256 * 2**20
"""Tables up to this size are counted (well under a second); of larger ones PostgreSQL's estimate is
given."""


@dataclass(frozen=True, slots=True)
class TableStatus:
    """Size of a table with all its children. ``rows_estimated`` marks PostgreSQL's estimate."""

    name: str
    rows: int
    rows_estimated: bool
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StorageStatus:
    """What is stored. Epochs are those of ``network_epochs``; None while nothing is stored.

    ``gaps`` are ranges of missing epochs, first and last included, between the first and the last.
    """

    network: NetworkIdentity | None
    first_epoch: int | None
    last_epoch: int | None
    epoch_count: int
    finalized_count: int
    gaps: tuple[tuple[int, int], ...]
    tables: tuple[TableStatus, ...]


def storage_status(warehouse: Warehouse) -> StorageStatus:
    """What the warehouse holds: network, epochs and their gaps, rows and bytes of each table.

    Raises:
        StorageError: the database is away or refuses.
    """
    network = warehouse.network()
    epochs = table_of(warehouse.schema, "network_epochs").c
    following = sa.func.lead(epochs.epoch).over(order_by=epochs.epoch)
    stored = sa.select(epochs.epoch, following.label("following")).subquery().c
    with warehouse.database.transaction("read what is stored") as connection:
        first, last, count, finalized = connection.execute(
            sa.select(
                sa.func.min(epochs.epoch),
                sa.func.max(epochs.epoch),
                sa.func.count(),
                sa.func.count().filter(epochs.finalized),
            )
        ).one()
        gaps = connection.execute(
            sa.select(stored.epoch + 1, stored.following - 1)
            .where(stored.following > stored.epoch + 1)
            .order_by(stored.epoch)
        ).all()
        tables = tuple(_table_status(connection, warehouse, name) for name in TABLES)
    return StorageStatus(
        network, first, last, count, finalized, tuple((start, end) for start, end in gaps), tables
    )


def stored_epochs(warehouse: Warehouse) -> list[int]:
    """The epochs that are stored, ascending."""
    epochs: list[int] = warehouse.read("network_epochs", columns=["epoch"])["epoch"].tolist()
    return epochs


def validator_history(
    warehouse: Warehouse, validator_index: int, epochs: Sequence[int] | None = None
) -> pd.DataFrame:
    """One row per stored epoch in which the validator had duties, ascending.

    Columns: those of ``attestation_outcomes``, ``attestation_rewards`` and ``effectiveness_scores``
    without the index; ``sync_seats``, ``sync_due``, ``sync_participated``, ``sync_missed``,
    ``sync_reward`` and ``ideal_sync_reward`` (gwei); ``proposals``, ``blocks_proposed`` and
    ``block_reward`` (gwei). Columns of a part that an epoch does not have are NULL.

    Raises:
        StorageError: the database is away or refuses.
    """
    wanted = stored_epochs(warehouse) if epochs is None else list(epochs)

    def read(table: str) -> pd.DataFrame:
        rows = warehouse.read(table, epochs=wanted, validator_indices=[validator_index])
        return rows.drop(columns=["validator_index", "proposer_index"], errors="ignore")

    duties = read("proposer_duties")
    proposals = (
        duties.assign(is_proposed=duties["outcome"] == "proposed")
        .groupby("epoch", as_index=False)
        .agg(proposals=("slot", "count"), blocks_proposed=("is_proposed", "sum"))
    )
    rewards = (
        read("block_rewards").groupby("epoch", as_index=False).agg(block_reward=("total", "sum"))
    )
    parts = [
        read("attestation_outcomes"),
        read("attestation_rewards"),
        read("sync_duties").rename(
            columns={name: f"sync_{name}" for name in ("seats", "due", "participated", "missed")}
        ),
        read("sync_rewards").rename(
            columns={"reward": "sync_reward", "ideal_reward": "ideal_sync_reward"}
        ),
        proposals,
        rewards,
        read("effectiveness_scores"),
    ]
    nullable = [part.astype(_nullable_types(part)) for part in parts]
    merged = reduce(lambda left, right: left.merge(right, on="epoch", how="outer"), nullable)
    return merged.sort_values("epoch", ignore_index=True)


def _nullable_types(frame: pd.DataFrame) -> dict[str, str]:
    """Types in which a missing part of an epoch is NULL and integers stay integers."""
    nullable = {"int32": "Int32", "int64": "Int64", "bool": "boolean"}
    return {
        str(name): nullable[str(dtype)]
        for name, dtype in frame.dtypes.items()
        if str(dtype) in nullable and name != "epoch"
    }


def group_summary(
    warehouse: Warehouse, epochs: Sequence[int], category: str | None = None
) -> pd.DataFrame:
    """Totals per label of ``category`` over ``epochs``; one row for everybody without a category.

    Columns, one row per ``group`` (the label's value; None for validators without that label):
    ``validators`` (the most there were in an epoch); ``duties`` and ``missed`` (attestations owed,
    and those not included although a block could have); ``attestation_effectiveness`` (mean over
    duties), ``reward_effectiveness`` (Σ earned / Σ ideal of attestations whose ideal is known and
    not zero), NaN when nothing counts; ``earned_gwei`` (attestations, sync committee and blocks),
    ``missed_gwei`` (Σ of ideal − earned, attestations and sync committee, where the ideal is
    known). A label counts in the epochs it holds for.

    Raises:
        StorageError: the database is away or refuses.
    """
    sums = table_of(warehouse.schema, "epoch_summaries").c

    def total(expression: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
        return sa.cast(sa.func.coalesce(sa.func.sum(expression), 0), sa.BigInteger)

    def over(numerator: sa.ColumnElement[Any], denominator: sa.ColumnElement[Any]) -> Any:
        ratio = sa.func.sum(numerator) / sa.func.nullif(sa.func.sum(denominator), 0)
        return sa.cast(ratio, sa.Double)

    query = (
        sa.select(
            sa.func.nullif(sums.value, UNLABELLED),
            sa.func.max(sums.validators),
            total(sums.duties),
            total(sums.missed),
            over(sums.attestation_effectiveness_sum, sums.attestation_effectiveness_duties),
            over(sums.scored_reward, sums.scored_ideal_reward),
            total(sums.reward + sums.sync_reward + sums.proposal_reward),
            total(sums.missed_reward) + total(sums.sync_ideal_reward - sums.sync_reward),
        )
        .where(
            sums.epoch == sa.any_(sa.literal([int(epoch) for epoch in epochs], _INTEGERS)),
            sums.category == (EVERYBODY[0] if category is None else category),
        )
        .group_by(sums.value)
        .order_by(sa.func.nullif(sums.value, UNLABELLED).asc().nulls_last())
    )
    with warehouse.database.transaction("summarise groups") as connection:
        rows = connection.execute(query).all()
    summary = pd.DataFrame([tuple(row) for row in rows], columns=list(_GROUP_COLUMNS))
    return summary.astype(_GROUP_COLUMNS)


_INTEGERS: Final = postgresql.ARRAY(sa.Integer)
_GROUP_COLUMNS: Final = {
    "group": "object",
    "validators": "int64",
    "duties": "int64",
    "missed": "int64",
    "attestation_effectiveness": "float64",
    "reward_effectiveness": "float64",
    "earned_gwei": "int64",
    "missed_gwei": "int64",
}


def _table_status(connection: sa.Connection, warehouse: Warehouse, name: str) -> TableStatus:
    table = table_of(warehouse.schema, name)
    # A partitioned table has a tree of children, any other table none: then it is counted itself.
    size, estimate = connection.execute(
        sa.text(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint, "
            "coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class "
            "WHERE relkind = 'r' AND (oid = CAST(:table AS regclass) "
            "OR oid IN (SELECT relid FROM pg_partition_tree(CAST(:table AS regclass))))"
        ),
        {"table": connection.dialect.identifier_preparer.format_table(table)},
    ).one()
    if size > EXACT_COUNT_BYTES:
        return TableStatus(name, estimate, True, size)
    count = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    return TableStatus(name, count, False, size)
