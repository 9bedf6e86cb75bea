"""How many stored values another computation of the same rows would move, and how far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from valmon_pipeline.frames import TableContract
from valmon_pipeline.storage.corrections import changed_values

EXAMPLES: Final = 3


@dataclass(frozen=True, slots=True)
class Move:
    """A value that would change, as text; None is NULL, or no such row.

    ``validator_index`` is None in tables that are not kept by validator.
    """

    epoch: int
    validator_index: int | None
    old: str | None
    new: str | None


@dataclass(slots=True)
class ColumnMoves:
    """The moves of a column. ``largest`` is the largest difference between two numbers, None if no
    number became another one; ``rows`` counts the rows compared."""

    table: str
    column: str
    rows: int = 0
    moved: int = 0
    largest: float | None = None
    examples: list[Move] = field(default_factory=list)


class Moves:
    """Collects what is different, frame by frame; no frames are kept."""

    def __init__(self) -> None:
        self._columns: dict[tuple[str, str], ColumnMoves] = {}
        self._rows: dict[str, int] = {}

    def add(
        self, contract: TableContract, epoch: int, stored: pd.DataFrame, new: pd.DataFrame
    ) -> None:
        """Compare the stored rows of an epoch with new ones."""
        self._rows[contract.name] = self._rows.get(contract.name, 0) + max(len(stored), len(new))
        everybody = np.zeros(0, dtype=np.int64)
        if "validator_index" in contract.columns:
            everybody = new["validator_index"].to_numpy(np.int64)
        changes = changed_values(contract, stored, new, everybody)
        for column, rows in changes.groupby("column_name", sort=False):
            self._add_column(contract.name, str(column), epoch, rows)

    def by_column(self) -> list[ColumnMoves]:
        """The columns that move, those of a table side by side."""
        for (table, _), moves in self._columns.items():
            moves.rows = self._rows[table]
        tables = list(self._rows)
        return sorted(self._columns.values(), key=lambda moves: tables.index(moves.table))

    def _add_column(self, table: str, column: str, epoch: int, rows: pd.DataFrame) -> None:
        moves = self._columns.setdefault((table, column), ColumnMoves(table, column))
        moves.moved += len(rows)
        distances = (_numbers(rows["new_value"]) - _numbers(rows["old_value"])).abs().dropna()
        if len(distances):
            moves.largest = max(moves.largest or 0.0, float(distances.max()))
        for row in rows.head(EXAMPLES - len(moves.examples)).to_dict("records"):
            index = row["validator_index"]
            moves.examples.append(
                Move(
                    epoch,
                    None if pd.isna(index) else int(index),
                    _text(row["old_value"]),
                    _text(row["new_value"]),
                )
            )


def _numbers(values: pd.Series) -> pd.Series:
    return pd.to_numeric(values, errors="coerce").astype("float64")


def _text(value: Any) -> str | None:
    return None if pd.isna(value) else str(value)
