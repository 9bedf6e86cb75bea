"""Totals of groups over any epochs: the key (epoch, category, value) of ``epoch_summaries``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from valmon_pipeline.scoring.groups import EVERYBODY, UNLABELLED
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse


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
