"""What is different when an epoch that is stored already is stored again.

Stored and new rows are compared column by column, in the transaction that replaces them; times of
writing and versions of formulas are not compared. Rows of validators that were not watched before
are no correction: nothing was said about them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

from valmon_pipeline.frames import TableContract, conform, contract_of
from valmon_pipeline.storage.advisory_locks import lock_for_transaction
from valmon_pipeline.storage.table_reader import Selection, read_table
from valmon_pipeline.storage.tables import table_of

NOT_COMPARED: Final = frozenset(
    {
        ("network_epochs", "finalized"),
        ("network_epochs", "formula_version"),
        ("effectiveness_scores", "formula_version"),
        ("epoch_summaries", "formula_version"),
        ("validator_standings", "formula_version"),
    }
)
"""Turning final changes no fact, nor do other formulas that come to the same result."""

_NO_CHANGES: Final = pd.DataFrame(
    columns=["table_name", "slot", "validator_index", "column_name", "old_value", "new_value"]
)

DERIVED: Final = frozenset({"epoch_summaries"})
"""Sums over rows that are compared themselves, of whoever was watched: not compared again."""

PROVENANCE: Final = frozenset({"fact_sources"})
"""Where values came from: another source of the same value corrects nothing."""

WHOLE_NETWORK: Final = frozenset({"network_states", "network_outcomes"})
"""Compared validator by validator, by ``storage.network_corrections``."""


def corrections_to_store(
    connection: sa.Connection,
    schema: str,
    epoch: int,
    frames: Mapping[str, pd.DataFrame],
    reason: str,
    also: Sequence[pd.DataFrame] = (),
    *,
    watched_in: str = "validator_snapshots",
) -> pd.DataFrame | None:
    """The rows for ``corrections`` if ``frames`` replace what is stored of ``epoch``; None if that
    changes nothing. The epoch must be ``stored_already``: what is stored ahead of its first
    materialization is not compared.

    ``watched_in`` is the table whose stored rows say who was watched. ``also`` are changes found
    elsewhere, with the columns of ``changed_values``.

    Call it before the rows are replaced; the numbers of the corrections stay reserved until the
    transaction ends.
    """
    watched = _watched(connection, schema, epoch, watched_in)
    compared = (
        _changes_of(connection, schema, contract_of(table), epoch, frame, watched)
        for table, frame in frames.items()
        if table not in DERIVED | PROVENANCE | WHOLE_NETWORK
    )
    return _numbered(connection, schema, epoch, [*compared, *also], reason)


def corrections_to_standings(
    connection: sa.Connection, schema: str, epoch: int, frame: pd.DataFrame, reason: str
) -> pd.DataFrame | None:
    """The rows for ``corrections`` if ``frame`` replaces the standings of ``epoch``.

    Compared are final rows only: of a final epoch, made when their window was complete. What others
    rest on says ``window_epochs``, and filling a gap is expected to change them.
    """
    if not _is_final(connection, schema, epoch):
        return None
    contract = contract_of("validator_standings")
    stored = read_table(
        connection, schema, contract, contract.columns, Selection({"epoch": [epoch]})
    )
    final = stored[stored["window_complete"]].reset_index(drop=True)
    if not len(final):
        return None
    nobody_else = np.zeros(0, dtype=np.int64)
    changes = changed_values(contract, final, frame, nobody_else)
    return _numbered(connection, schema, epoch, [changes], reason)


def stored_already(connection: sa.Connection, schema: str, epochs: Sequence[int]) -> list[int]:
    """Those of ``epochs`` that are stored, ascending."""
    table = table_of(schema, "network_epochs").c
    query = sa.select(table.epoch).where(table.epoch.in_(list(epochs))).order_by(table.epoch)
    return [int(epoch) for epoch in connection.execute(query).scalars()]


def _numbered(
    connection: sa.Connection,
    schema: str,
    epoch: int,
    found: Sequence[pd.DataFrame],
    reason: str,
) -> pd.DataFrame | None:
    """Changes as rows of ``corrections``; None if there are none."""
    found = [changes for changes in found if len(changes)]
    if not found:
        return None
    changes = pd.concat(found, ignore_index=True)
    first = _first_free_id(connection, schema)
    return conform(
        "corrections",
        {
            "correction_id": np.arange(first, first + len(changes), dtype=np.int64),
            **{name: changes[name] for name in changes.columns},
            "epoch": np.full(len(changes), epoch),
            "reason": np.full(len(changes), reason, dtype=object),
            "at": np.full(len(changes), datetime.now(UTC), dtype=object),
        },
    )


def changed_values(
    contract: TableContract,
    stored: pd.DataFrame,
    new: pd.DataFrame,
    watched: npt.NDArray[np.integer[Any]],
) -> pd.DataFrame:
    """One row per value that differs: table_name, slot, validator_index, column_name, old_value and
    new_value. A row on one side only has an entry per column that is not NULL.

    ``stored`` and ``new`` have the contract's columns, each key once. ``watched`` are the
    validators (n) that stored rows tell of; new rows of others are left out.
    """
    before, after = _positions(stored, new, list(contract.key))
    for column in ("validator_index", "proposer_index"):
        if column in contract.columns and before is not after:
            validators = new[column].to_numpy(dtype=np.int64, na_value=-1)
            unwatched = (before < 0) & ~np.isin(validators[after], watched)
            before, after = before[~unwatched], after[~unwatched]
            break
    changes = [
        _changes_in_column(contract, column, stored, new, before, after)
        for column, described in contract.schema.columns.items()
        if column not in contract.key
        and (contract.name, column) not in NOT_COMPARED
        and not isinstance(described.dtype.type, pd.DatetimeTZDtype)
    ]
    found = [changed for changed in changes if changed is not None]
    return pd.concat(found) if found else _NO_CHANGES


def _changes_of(
    connection: sa.Connection,
    schema: str,
    contract: TableContract,
    epoch: int,
    frame: pd.DataFrame,
    watched: npt.NDArray[np.integer[Any]],
) -> pd.DataFrame:
    stored = read_table(
        connection, schema, contract, contract.columns, Selection({"epoch": [epoch]})
    )
    for column in contract.replaced_by[1:]:
        stored = stored[stored[column].isin(frame[column])].reset_index(drop=True)
    return changed_values(contract, stored, frame, watched)


def _changes_in_column(
    contract: TableContract,
    column: str,
    stored: pd.DataFrame,
    new: pd.DataFrame,
    before: npt.NDArray[np.int64],
    after: npt.NDArray[np.int64],
) -> pd.DataFrame | None:
    rows = np.flatnonzero(_differ(stored[column], new[column], before, after))
    if not len(rows):
        return None
    keys = {
        name: _of_either(stored, new, name, before[rows], after[rows])
        for name in ("slot", "validator_index")
        if name in contract.key
    }
    absent = pd.array([pd.NA] * len(rows), dtype="Int32")
    return pd.DataFrame(
        {
            "table_name": np.full(len(rows), contract.name, dtype=object),
            "slot": keys.get("slot", absent),
            "validator_index": keys.get("validator_index", absent),
            "column_name": np.full(len(rows), column, dtype=object),
            "old_value": _texts(stored[column], before[rows]),
            "new_value": _texts(new[column], after[rows]),
        }
    )


def _differ(
    stored: pd.Series,
    new: pd.Series,
    before: npt.NDArray[np.int64],
    after: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Which of the rows at these positions have another value now."""
    old_null, old = _comparable(stored)
    new_null, newer = _comparable(new)
    if before is after:
        # The usual case, and most of the time of storing a small epoch again.
        aligned: npt.NDArray[np.bool_] = (old_null != new_null) | (~old_null & (old != newer))
        return aligned
    # Position -1, no such row, finds the entry appended here: a NULL.
    old_null, new_null = np.append(old_null, True)[before], np.append(new_null, True)[after]
    differs: npt.NDArray[np.bool_] = old_null != new_null
    both = np.flatnonzero(~old_null & ~new_null)
    differs[both] = old[before[both]] != newer[after[both]]
    return differs


def _positions(
    stored: pd.DataFrame, new: pd.DataFrame, key: list[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row numbers in ``stored`` and ``new`` of each key that either has; -1 where it has not.

    The same array twice if both have the same keys in the same order.
    """
    if len(stored) == len(new) and all(
        np.array_equal(stored[name].to_numpy(), new[name].to_numpy()) for name in key
    ):
        same = np.arange(len(new))
        return same, same
    pairs = (
        stored[key]
        .assign(before=np.arange(len(stored)))
        .merge(new[key].assign(after=np.arange(len(new))), on=key, how="outer")
    )
    return (
        pairs["before"].fillna(-1).to_numpy(np.int64),
        pairs["after"].fillna(-1).to_numpy(np.int64),
    )


def _comparable(values: pd.Series) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
    """Which are NULL, and values that can be compared where they are not."""
    null = values.isna().to_numpy(dtype=np.bool_)
    if isinstance(values.dtype, pd.CategoricalDtype):
        # Both sides have the contract's names, in its order.
        return null, values.cat.codes.to_numpy()
    if isinstance(values.dtype, pd.StringDtype):
        return null, values.to_numpy(dtype=object)
    if isinstance(values.dtype, pd.api.extensions.ExtensionDtype):
        return null, values.to_numpy(dtype=np.int64, na_value=0)
    return null, values.to_numpy()


def _of_either(
    stored: pd.DataFrame,
    new: pd.DataFrame,
    column: str,
    before: npt.NDArray[np.int64],
    after: npt.NDArray[np.int64],
) -> pd.api.extensions.ExtensionArray:
    numbers = np.where(
        after >= 0,
        np.append(new[column].to_numpy(), -1)[after],
        np.append(stored[column].to_numpy(), -1)[before],
    )
    return pd.array(numbers, dtype="Int32")


def _texts(values: pd.Series, positions: npt.NDArray[np.int64]) -> pd.Series:
    """Values as text, NULL at position -1: bytes as 0x…, truth in lower case, numbers exactly."""
    chosen = values.take(positions[positions >= 0])
    null = chosen.isna().to_numpy(dtype=np.bool_)
    if chosen.dtype == object:
        shown = np.array(
            [None if value is None else f"0x{value.hex()}" for value in chosen], dtype=object
        )
    else:
        shown = chosen.astype("str").to_numpy(dtype=object)
    if chosen.dtype in (np.dtype("bool"), pd.BooleanDtype()):
        shown = np.where(shown == "True", "true", "false").astype(object)
    shown[null] = None
    texts = np.full(len(positions), None, dtype=object)
    texts[positions >= 0] = shown
    return pd.Series(texts, dtype="str")


def _is_final(connection: sa.Connection, schema: str, epoch: int) -> bool:
    """True if the epoch is stored, and final."""
    epochs = table_of(schema, "network_epochs")
    query = sa.select(epochs.c.finalized).where(epochs.c.epoch == epoch)
    return bool(connection.execute(query).scalar())


def _watched(
    connection: sa.Connection, schema: str, epoch: int, table: str
) -> npt.NDArray[np.integer[Any]]:
    rows = read_table(
        connection,
        schema,
        contract_of(table),
        ["validator_index"],
        Selection({"epoch": [epoch]}),
    )
    return np.unique(rows["validator_index"].to_numpy())


def _first_free_id(connection: sa.Connection, schema: str) -> int:
    lock_for_transaction(connection, f"{schema}.corrections")
    largest = sa.func.max(table_of(schema, "corrections").c.correction_id)
    return 1 + int(connection.execute(sa.select(sa.func.coalesce(largest, 0))).scalar_one())
