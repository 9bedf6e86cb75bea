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
    not zero), NaN when nothing counts; ``earned_gwei`` (attestations, sync committee and blocks, as
    far as known), ``missed_gwei`` (Σ of ideal − earned, attestations and sync committee, where both
    are known), NULL when no reward is known; ``rewards_known`` (of how many attestations the reward
    is) and ``incomplete_epochs`` (how many of the epochs lack a fact). A label counts in the epochs
    it holds for.

    Raises:
        StorageError: the database is away or refuses.
    """
    sums = table_of(warehouse.schema, "epoch_summaries").c
    network_epochs = table_of(warehouse.schema, "network_epochs").c

    def total(expression: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
        return sa.cast(sa.func.coalesce(sa.func.sum(expression), 0), sa.BigInteger)

    def over(numerator: sa.ColumnElement[Any], denominator: sa.ColumnElement[Any]) -> Any:
        ratio = sa.func.sum(numerator) / sa.func.nullif(sa.func.sum(denominator), 0)
        return sa.cast(ratio, sa.Double)

    known = sa.func.sum(sums.rewards_known + sums.sync_due_rewarded + sums.proposals_rewarded)

    def if_known(amount: sa.ColumnElement[int]) -> sa.ColumnElement[int | None]:
        return sa.case((known > 0, amount))

    query = (
        sa.select(
            sa.func.nullif(sums.value, UNLABELLED),
            sa.func.max(sums.validators),
            total(sums.duties),
            total(sums.missed),
            over(sums.attestation_effectiveness_sum, sums.attestation_effectiveness_duties),
            over(sums.scored_reward, sums.scored_ideal_reward),
            if_known(total(sums.reward + sums.sync_reward + sums.proposal_reward)),
            if_known(total(sums.missed_reward) + _sync_missed(sums)),
            total(sums.rewards_known),
            sa.func.count().filter(network_epochs.missing_facts > 0),
        )
        .outerjoin_from(
            sums.epoch.table, network_epochs.epoch.table, network_epochs.epoch == sums.epoch
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


def _sync_missed(sums: Any) -> sa.ColumnElement[int]:
    """Ideal less earned of the sync committee, in the epochs in which every reward is known."""
    known = sums.sync_due_rewarded == sums.sync_due
    missed = sa.func.sum(sums.sync_ideal_reward - sums.sync_reward).filter(known)
    return sa.cast(sa.func.coalesce(missed, 0), sa.BigInteger)


_INTEGERS: Final = postgresql.ARRAY(sa.Integer)
_GROUP_COLUMNS: Final = {
    "group": "object",
    "validators": "int64",
    "duties": "int64",
    "missed": "int64",
    "attestation_effectiveness": "float64",
    "reward_effectiveness": "float64",
    "earned_gwei": "Int64",
    "missed_gwei": "Int64",
    "rewards_known": "int64",
    "incomplete_epochs": "int64",
}
