"""The balance ledger over a range of epochs, of everybody, of groups, or of some validators.

    closing of the last epoch = opening of the first + every component + residual
                                + moved + gaps

to the gwei. ``moved`` is the balance of validators that joined the group less that of those that
left it, by their labels or because they began or ended to exist; ``gaps`` is what happened in
epochs that are not stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from psycopg import sql

from valmon_pipeline.frames.balance_ledger import COMPONENTS
from valmon_pipeline.scoring.groups import EVERYBODY, UNLABELLED
from valmon_pipeline.storage.database import driver_connection
from valmon_pipeline.storage.queries.buckets import Span
from valmon_pipeline.storage.queries.label_join import LABEL_JOIN
from valmon_pipeline.storage.warehouse import Warehouse

AMOUNTS: Final = ("opening_balance", *COMPONENTS, "full_withdrawals", "residual", "closing_balance")
FLOWS: Final = (*COMPONENTS, "full_withdrawals", "residual")
"""What adds up over epochs; balances do not."""


def ledger_by_epoch(
    warehouse: Warehouse,
    span: Span,
    category: str = EVERYBODY[0],
    validators: Sequence[int] | None = None,
) -> pd.DataFrame:
    """A row per group and stored epoch, in this order: ``value``, ``epoch``, ``validators``, and
    every amount of ``balance_ledger`` summed up, exactly (gwei).

    Groups are the values of ``category`` that held in each epoch, '' for those without one; of the
    category ``all`` there is one. Only ``validators`` count, if given.

    Raises:
        StorageError: the database is away or refuses.
    """
    everybody = category == EVERYBODY[0]
    identifiers = {
        name: sql.Identifier(warehouse.schema, name)
        for name in ("balance_ledger", "validator_labels")
    }
    query = sql.SQL(
        "SELECT {label} AS value, facts.epoch, count(*), {sums} FROM {balance_ledger} AS facts "
        "{join} WHERE facts.epoch BETWEEN %(first)s AND %(last)s {condition} "
        "GROUP BY 1, 2 ORDER BY 1, 2"
    ).format(
        label=sql.SQL("%(everybody)s::text" if everybody else "coalesce(labels.value, %(none)s)"),
        sums=sql.SQL(", ").join(
            sql.SQL("sum(facts.{})::bigint").format(sql.Identifier(name)) for name in AMOUNTS
        ),
        join=sql.SQL("" if everybody else LABEL_JOIN).format(**identifiers),
        condition=sql.SQL(
            "" if validators is None else "AND facts.validator_index = ANY(%(validators)s)"
        ),
        **identifiers,
    )
    parameters = {
        "first": span.first,
        "last": span.last,
        "category": category,
        "everybody": EVERYBODY[1],
        "none": UNLABELLED,
        "validators": None if validators is None else [int(index) for index in validators],
    }
    with warehouse.database.transaction("read the ledger of groups") as connection:
        rows = driver_connection(connection).execute(query, parameters).fetchall()
    read = pd.DataFrame(rows, columns=["value", "epoch", "validators", *AMOUNTS], dtype=object)
    whole = ["epoch", "validators", *AMOUNTS]
    return read.astype({"value": "str"} | dict.fromkeys(whole, "int64"))


def validator_ledger(warehouse: Warehouse, validator_index: int, span: Span) -> pd.DataFrame:
    """The rows of ``balance_ledger`` of one validator, by epoch, without its index.

    Raises:
        StorageError: the database is away or refuses.
    """
    rows = warehouse.read("balance_ledger", epochs=span.epochs, validator_indices=[validator_index])
    return rows.drop(columns=["validator_index"])


def ledger_over_epochs(by_epoch: pd.DataFrame) -> pd.DataFrame:
    """The epochs of ``ledger_by_epoch`` in one row per group: ``value``, ``opening_balance`` of the
    first, the sum of every component and of the residual, ``moved``, ``gaps``,
    ``closing_balance`` of the last. Pure; all gwei, exact.
    """
    rows = by_epoch.sort_values(["value", "epoch"], kind="stable")
    groups = rows.groupby("value", sort=True)
    between = rows["opening_balance"] - groups["closing_balance"].shift().fillna(0).astype("int64")
    step = rows["epoch"] - groups["epoch"].shift().fillna(0).astype("int64")
    first = groups.cumcount() == 0
    rows = rows.assign(
        moved=np.where(~first & (step == 1), between, 0),
        gaps=np.where(~first & (step > 1), between, 0),
    )
    groups = rows.groupby("value", sort=True)
    total = groups[[*FLOWS, "moved", "gaps"]].sum()
    total.insert(0, "opening_balance", groups["opening_balance"].first())
    total["closing_balance"] = groups["closing_balance"].last()
    return total.reset_index()
