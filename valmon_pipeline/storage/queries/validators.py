"""Validators by index, public key, status or label, as they were when last stored."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import sqlalchemy as sa

from valmon_pipeline.chain.status import ValidatorStatus
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse


def find_validators(
    warehouse: Warehouse,
    *,
    indices: Sequence[int] | None = None,
    pubkeys: Sequence[bytes] | None = None,
    statuses: Sequence[ValidatorStatus] | None = None,
    label: tuple[str, str] | None = None,
) -> pd.DataFrame:
    """The validators that meet every condition given, by index; an empty list is met by none.

    Columns: those of ``validators``; ``status``, ``balance`` and ``effective_balance`` (gwei) at
    the end of the newest stored epoch, NULL for those that are not watched. ``label`` is a category
    and a value that holds still. Read through the key or the index of the condition; statuses
    through the key of that epoch's snapshots.

    Raises:
        StorageError: the database is away or refuses.
    """
    validators = table_of(warehouse.schema, "validators")
    labels = table_of(warehouse.schema, "validator_labels").c
    newest = _newest_snapshots(warehouse)
    statement = (
        sa.select(validators, newest.c.status, newest.c.balance, newest.c.effective_balance)
        .outerjoin_from(
            validators, newest, newest.c.validator_index == validators.c.validator_index
        )
        .order_by(validators.c.validator_index)
    )
    if indices is not None:
        statement = statement.where(
            validators.c.validator_index.in_([int(index) for index in indices])
        )
    if pubkeys is not None:
        statement = statement.where(validators.c.pubkey.in_(list(pubkeys)))
    if statuses is not None:
        statement = statement.where(newest.c.status.in_([status.value for status in statuses]))
    if label is not None:
        statement = statement.where(
            validators.c.validator_index.in_(
                sa.select(labels.validator_index).where(
                    labels.category == label[0],
                    labels.value == label[1],
                    labels.until_epoch.is_(None),
                )
            )
        )
    with warehouse.database.transaction("find validators") as connection:
        result = connection.execute(statement)
        found = pd.DataFrame(result.all(), columns=list(result.keys()), dtype=object)
    nullable = [name for name in found.columns if name.endswith("_epoch")]
    types = {"validator_index": "int64", "credential_type": "str", "slashed": "bool"}
    types |= dict.fromkeys([*nullable, "balance", "effective_balance"], "Int64")
    return found.astype(types | {"status": "str"})


def _newest_snapshots(warehouse: Warehouse) -> sa.Subquery:
    """The snapshots at the last slot that the newest stored epoch has any of."""
    snapshots = table_of(warehouse.schema, "validator_snapshots")
    epochs = table_of(warehouse.schema, "network_epochs").c
    epoch = sa.select(sa.func.max(epochs.epoch)).scalar_subquery()
    slot = (
        sa.select(sa.func.max(snapshots.c.slot)).where(snapshots.c.epoch == epoch).scalar_subquery()
    )
    return (
        sa.select(snapshots)
        .where(snapshots.c.epoch == epoch, snapshots.c.slot == slot)
        .subquery("newest")
    )
