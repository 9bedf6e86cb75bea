"""The balance ledger over a range of epochs, of everybody, of groups, or of some validators.

    closing of the last epoch = opening of the first + every component + residual
                                + unknown + moved + gaps

to the gwei. ``unknown`` is what moved balances in epochs with a ledger of which a component is not
known, beside the components that are; it is not split up. ``moved`` is the balance of validators
that joined the group less that of those that left it, by their labels or because they began or
ended to exist; ``gaps`` is what happened in epochs that are not stored, or of which no balances are
known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
import sqlalchemy as sa

from valmon_pipeline.scoring.facts import LEDGER_SUMS
from valmon_pipeline.scoring.groups import EVERYBODY
from valmon_pipeline.storage.queries.buckets import Span
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse

FLOWS: Final = LEDGER_SUMS
"""What adds up over epochs; balances do not."""

_SOME: Final = "some"
_COLUMNS: Final = (
    *("value", "epoch", "validators", "unknown_rows"),
    *("opening_balance", *FLOWS, "closing_balance"),
)
_PARTS: Final = tuple(name for name in FLOWS if name != "full_withdrawals")
"""What adds up to the change of the balance."""


def ledger_by_epoch(warehouse: Warehouse, span: Span, category: str = EVERYBODY[0]) -> pd.DataFrame:
    """A row per group and stored epoch of which balances are known, in this order: ``value``,
    ``epoch``, ``validators``, ``unknown_rows`` (of how many validators a component is not known),
    and every amount of ``balance_ledger`` summed up as far as it is known (gwei): from
    ``epoch_summaries``, whose groups they are, also beyond retention.

    Raises:
        StorageError: the database is away or refuses.
    """
    sums = table_of(warehouse.schema, "epoch_summaries").c
    statement = (
        sa.select(
            *(sums.value, sums.epoch, sums.validators, sums.ledger_unknown_rows),
            sums.opening_balance,
            *(sums[f"ledger_{name}"] for name in FLOWS),
            sums.closing_balance,
        )
        .where(
            sums.category == category,
            sums.epoch.between(span.first, span.last),
            sums.opening_balance.is_not(None),
            sums.closing_balance.is_not(None),
        )
        .order_by(sums.value, sums.epoch)
    )
    with warehouse.database.transaction("read the ledger of groups") as connection:
        rows = connection.execute(statement).all()
    return _typed([tuple(row) for row in rows])


def ledger_of_validators(
    warehouse: Warehouse, validators: Sequence[int], span: Span
) -> pd.DataFrame:
    """The same of some validators as one group, from ``balance_ledger``, until retention.

    Raises:
        StorageError: the database is away or refuses.
    """
    ledger = table_of(warehouse.schema, "balance_ledger").c

    def total(name: str) -> sa.ColumnElement[int]:
        return sa.cast(sa.func.coalesce(sa.func.sum(ledger[name]), 0), sa.BigInteger)

    statement = (
        sa.select(
            *(sa.literal(_SOME), ledger.epoch, sa.func.count()),
            sa.func.count().filter(ledger.residual.is_(None)),
            *(total(name) for name in ("opening_balance", *FLOWS, "closing_balance")),
        )
        .where(
            ledger.epoch.between(span.first, span.last),
            ledger.validator_index.in_([int(index) for index in validators]),
        )
        .group_by(ledger.epoch)
        .order_by(ledger.epoch)
    )
    with warehouse.database.transaction("read the ledger of validators") as connection:
        rows = connection.execute(statement).all()
    return _typed([tuple(row) for row in rows])


def validator_ledger(warehouse: Warehouse, validator_index: int, span: Span) -> pd.DataFrame:
    """The rows of ``balance_ledger`` of one validator, by epoch, without its index.

    Raises:
        StorageError: the database is away or refuses.
    """
    rows = warehouse.read("balance_ledger", epochs=span.epochs, validator_indices=[validator_index])
    return rows.drop(columns=["validator_index"])


def ledger_over_epochs(by_epoch: pd.DataFrame) -> pd.DataFrame:
    """The epochs of ``ledger_by_epoch`` in one row per group: ``value``, ``opening_balance`` of the
    first, the sum of every component and of the residual as far as they are known, ``unknown``,
    ``moved``, ``gaps``, ``closing_balance`` of the last. Pure; all gwei, exact.
    """
    rows = by_epoch.sort_values(["value", "epoch"], kind="stable")
    groups = rows.groupby("value", sort=True)
    between = rows["opening_balance"] - groups["closing_balance"].shift().fillna(0).astype("int64")
    step = rows["epoch"] - groups["epoch"].shift().fillna(0).astype("int64")
    first = groups.cumcount() == 0
    rows = rows.assign(
        unknown=rows["closing_balance"] - rows["opening_balance"] - rows[[*_PARTS]].sum(axis=1),
        moved=np.where(~first & (step == 1), between, 0),
        gaps=np.where(~first & (step > 1), between, 0),
    )
    groups = rows.groupby("value", sort=True)
    total = groups[[*FLOWS, "unknown", "moved", "gaps"]].sum()
    total.insert(0, "opening_balance", groups["opening_balance"].first())
    total["closing_balance"] = groups["closing_balance"].last()
    return total.reset_index()


def _typed(rows: list[tuple[object, ...]]) -> pd.DataFrame:
    read = pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object)
    return read.astype({"value": "str"} | dict.fromkeys(_COLUMNS[1:], "int64"))
