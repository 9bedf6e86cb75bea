"""Labels: their history, and changes of one, each in one transaction.

The configuration says what holds: what it says differently is changed back when it is read next.
Changes here are for who keeps no labels in the configuration, or wants them before that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa

from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage.advisory_locks import lock_for_transaction
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Label:
    """A label and the epochs it holds for: ``from_epoch`` ≤ epoch < ``until_epoch`` (None: it
    still does)."""

    validator_index: int
    category: str
    value: str
    from_epoch: int
    until_epoch: int | None


def label_history(warehouse: Warehouse, validators: Sequence[int] | None = None) -> pd.DataFrame:
    """Frame ``validator_labels``, of all or of some validators, in the order of its key.

    Raises:
        StorageError: the database is away or refuses.
    """
    return warehouse.read("validator_labels", validator_indices=validators)


def labels_of(warehouse: Warehouse, validator_index: int, epoch: int | None = None) -> list[Label]:
    """The labels of a validator that hold in ``epoch`` (None: that hold still), by category.

    Raises:
        StorageError: the database is away or refuses.
    """
    table = table_of(warehouse.schema, "validator_labels").c
    holds = (
        table.until_epoch.is_(None)
        if epoch is None
        else sa.and_(
            table.from_epoch <= epoch,
            sa.or_(table.until_epoch.is_(None), table.until_epoch > epoch),
        )
    )
    with warehouse.database.transaction("read labels") as connection:
        rows = connection.execute(
            sa.select(*_columns(warehouse))
            .where(table.validator_index == validator_index, holds)
            .order_by(table.category)
        ).all()
    return [Label(*row) for row in rows]


def set_label(
    warehouse: Warehouse, validator_index: int, category: str, value: str, from_epoch: int
) -> Label:
    """Let a label hold from an epoch on; the one that held until then ends there. The label as
    stored: if it held already, since when it does.

    Raises:
        StorageError: the history of the category goes on after ``from_epoch``: it is not rewritten;
            the label is empty; or the database refuses. Nothing is changed then.
    """
    if not value or not category:
        raise StorageError("a label needs a category and a value")
    table = table_of(warehouse.schema, "validator_labels")
    with _changing(warehouse, validator_index, category) as (connection, last):
        if last is not None and last.until_epoch is None and last.value == value:
            return last
        _refuse_the_past(last, from_epoch)
        _end(connection, table, last, from_epoch)
        label = Label(validator_index, category, value, from_epoch, None)
        connection.execute(
            sa.insert(table).values(
                validator_index=validator_index,
                category=category,
                value=value,
                from_epoch=from_epoch,
                until_epoch=None,
            )
        )
    return label


def close_label(
    warehouse: Warehouse, validator_index: int, category: str, until_epoch: int
) -> Label | None:
    """End the label of a category that holds still; what it is now. None if there is none, or
    nothing is left of it because it ends where it began.

    Raises:
        StorageError: the label began later than ``until_epoch``; or the database refuses.
    """
    table = table_of(warehouse.schema, "validator_labels")
    with _changing(warehouse, validator_index, category) as (connection, last):
        if last is None or last.until_epoch is not None:
            return None
        _refuse_the_past(last, until_epoch)
        _end(connection, table, last, until_epoch)
    if last.from_epoch == until_epoch:
        return None
    return Label(validator_index, category, last.value, last.from_epoch, until_epoch)


def _columns(warehouse: Warehouse) -> list[sa.Column[Any]]:
    table = table_of(warehouse.schema, "validator_labels").c
    return [table.validator_index, table.category, table.value, table.from_epoch, table.until_epoch]


@contextmanager
def _changing(
    warehouse: Warehouse, validator_index: int, category: str
) -> Iterator[tuple[sa.Connection, Label | None]]:
    """A transaction that nobody else changes labels beside, and the newest label of a category."""
    table = table_of(warehouse.schema, "validator_labels").c
    with warehouse.database.transaction(
        f"change the label {category} of validator {validator_index}"
    ) as connection:
        lock_for_transaction(connection, f"{warehouse.schema}.validator_labels")
        row = connection.execute(
            sa.select(*_columns(warehouse))
            .where(table.validator_index == validator_index, table.category == category)
            .order_by(table.from_epoch.desc())
            .limit(1)
        ).one_or_none()
        yield connection, None if row is None else Label(*row)


def _refuse_the_past(last: Label | None, epoch: int) -> None:
    if last is None:
        return
    since = last.from_epoch if last.until_epoch is None else last.until_epoch
    if epoch < since:
        raise StorageError(
            f"the label {last.category} of validator {last.validator_index} changed in epoch "
            f"{since}: a change from epoch {epoch} on would rewrite its history"
        )


def _end(connection: sa.Connection, table: sa.Table, last: Label | None, epoch: int) -> None:
    if last is None or last.until_epoch is not None:
        return
    row = sa.and_(
        table.c.validator_index == last.validator_index,
        table.c.category == last.category,
        table.c.from_epoch == last.from_epoch,
    )
    if last.from_epoch == epoch:
        connection.execute(sa.delete(table).where(row))
    else:
        connection.execute(sa.update(table).where(row).values(until_epoch=epoch))
