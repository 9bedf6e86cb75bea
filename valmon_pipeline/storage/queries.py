"""What the command line, checks and reports ask the database. Each question has an index behind it.

- ``storage_status``: the keys of the small table ``network_epochs``, and the catalogue.
- ``validator_history``: the key (epoch, validator_index), one probe per epoch; proposals by their
own
  index on the validator.
- ``group_summary``: whole epochs, so the children that hold them, and the labels by category.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

import pandas as pd
import sqlalchemy as sa
from psycopg import sql

from valmon_pipeline.frames import TABLES
from valmon_pipeline.storage.database import driver_connection
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
    ``validators``; ``duties`` and ``missed`` (attestations owed, and those not included although a
    block could have); ``attestation_effectiveness`` (mean over duties), ``reward_effectiveness`` (Σ
    earned / Σ ideal of attestations whose ideal is known and not zero), NaN when nothing counts;
    ``earned_gwei`` (attestations, sync committee and blocks), ``missed_gwei`` (Σ of ideal − earned,
    attestations and sync committee, where the ideal is known). A label counts in the epochs it
    holds for.

    Raises:
        StorageError: the database is away or refuses.
    """
    identifiers = {name: sql.Identifier(warehouse.schema, name) for name in TABLES}
    label = sql.SQL("'all'::text" if category is None else "labels.value")
    join = sql.SQL("" if category is None else _LABEL_JOIN).format(**identifiers)
    query = sql.SQL(_GROUP_SUMMARY).format(label=label, label_join=join, **identifiers)
    parameters = {"epochs": [int(epoch) for epoch in epochs], "category": category}
    with warehouse.database.transaction("summarise groups") as connection:
        rows = driver_connection(connection).execute(query, parameters).fetchall()
    summary = pd.DataFrame(rows, columns=list(_GROUP_COLUMNS))
    return summary.astype(_GROUP_COLUMNS)


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

_LABEL_JOIN: Final = """
    LEFT JOIN {validator_labels} AS labels
      ON labels.validator_index = facts.validator_index AND labels.category = %(category)s
     AND labels.from_epoch <= facts.epoch
     AND (labels.until_epoch IS NULL OR facts.epoch < labels.until_epoch)
"""

# Each table contributes its own sums and NULL for the others: no join of large tables. Block
# rewards are stored of every block: those of validators without a score then are not watched.
_GROUP_SUMMARY: Final = """
SELECT {label} AS label,
       count(DISTINCT facts.validator_index),
       coalesce(sum(duties), 0)::bigint,
       coalesce(sum(missed), 0)::bigint,
       sum(effectiveness) / nullif(sum(effectiveness_duties), 0),
       (sum(ratio_earned) / nullif(sum(ratio_ideal), 0))::double precision,
       coalesce(sum(earned), 0)::bigint,
       coalesce(sum(lost), 0)::bigint
  FROM (
    SELECT epoch, validator_index,
           1 AS duties,
           (NOT included AND earliest_inclusion_slot IS NOT NULL)::integer AS missed,
           NULL::double precision AS effectiveness, NULL::integer AS effectiveness_duties,
           NULL::bigint AS ratio_earned, NULL::bigint AS ratio_ideal,
           NULL::bigint AS earned, NULL::bigint AS lost
      FROM {attestation_outcomes} WHERE epoch = ANY(%(epochs)s::integer[])
    UNION ALL
    SELECT epoch, validator_index, NULL, NULL,
           attestation_effectiveness, (attestation_effectiveness IS NOT NULL)::integer,
           NULL, NULL, NULL, NULL
      FROM {effectiveness_scores} WHERE epoch = ANY(%(epochs)s::integer[])
    UNION ALL
    SELECT epoch, validator_index, NULL, NULL, NULL, NULL,
           CASE WHEN ideal_total > 0 THEN total_reward END,
           CASE WHEN ideal_total > 0 THEN ideal_total END,
           total_reward, ideal_total - total_reward
      FROM {attestation_rewards} WHERE epoch = ANY(%(epochs)s::integer[])
    UNION ALL
    SELECT epoch, validator_index, NULL, NULL, NULL, NULL, NULL, NULL,
           reward, ideal_reward - reward
      FROM {sync_rewards} WHERE epoch = ANY(%(epochs)s::integer[])
    UNION ALL
    SELECT epoch, proposer_index, NULL, NULL, NULL, NULL, NULL, NULL, total, NULL
      FROM {block_rewards} AS blocks
     WHERE EXISTS (SELECT FROM {effectiveness_scores} AS watched
                    WHERE watched.epoch = blocks.epoch
                      AND watched.validator_index = blocks.proposer_index)
       AND epoch = ANY(%(epochs)s::integer[])
  ) AS facts {label_join}
 GROUP BY 1
 ORDER BY 1 NULLS LAST
"""


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
