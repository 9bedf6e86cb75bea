"""Totals of groups over any set of epochs, by the labels as they are known now.

Whole epochs are read, so the children that hold them, and the labels by category.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd
from psycopg import sql

from valmon_pipeline.frames import TABLES
from valmon_pipeline.storage.database import driver_connection
from valmon_pipeline.storage.queries.label_join import LABEL_JOIN
from valmon_pipeline.storage.warehouse import Warehouse


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
    join = sql.SQL("" if category is None else LABEL_JOIN).format(**identifiers)
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
