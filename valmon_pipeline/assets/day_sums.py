"""The sums of a UTC day from the stored facts of its epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.frames.conform import conform
from valmon_pipeline.frames.sums import SUM_NAMES
from valmon_pipeline.scoring.facts import FACT_COLUMNS, TELL_WHO, add_facts
from valmon_pipeline.scoring.rollup import SumsByValidator
from valmon_pipeline.storage.warehouse import Warehouse

ROWS_AT_ONCE: Final = 500_000
"""About how many rows of a table are in memory at once, whatever the length of the day."""


def day_summaries_frame(
    warehouse: Warehouse, day: date, due: range, rows_at_once: int = ROWS_AT_ONCE
) -> pd.DataFrame:
    """Frame ``validator_day_summaries`` of a day, a row per validator that was watched in it.

    Args:
        warehouse: where the facts are.
        day: the UTC day.
        due: the epochs that start in it; those of them that are stored are summed up.
        rows_at_once: see ``ROWS_AT_ONCE``; the sums do not depend on it.

    Raises:
        StorageError: the database is away or refuses.
    """
    epochs = warehouse.read(
        "network_epochs", epochs=due, columns=["epoch", "finalized", "missing_facts"]
    )
    stored = epochs["epoch"].tolist()
    sums, balances = SumsByValidator(), _Balances()
    for piece in _pieces(warehouse, stored, rows_at_once):
        facts = {
            table: warehouse.read(table, epochs=piece, columns=columns)
            for table, columns in FACT_COLUMNS.items()
        }
        for table in TELL_WHO:
            sums.include(facts[table]["validator_index"].to_numpy(np.int64))
        add_facts(sums, facts)
        balances.add(facts["balance_ledger"])
    validators = sums.validators

    def everybody(value: object) -> list[object]:
        return [value] * len(validators)

    return conform(
        "validator_day_summaries",
        {
            "day": np.full(len(validators), np.datetime64(day, "ns")),
            "validator_index": validators,
            "epochs": everybody(len(stored)),
            "complete": everybody(len(stored) == len(due)),
            "incomplete_epochs": everybody(int((epochs["missing_facts"] > 0).sum())),
            "finalized": everybody(bool(epochs["finalized"].all())),
            **{name: sums.total(name) for name in SUM_NAMES},
            "opening_balance": balances.opening.reindex(validators),
            "closing_balance": balances.closing.reindex(validators),
        },
    )


class _Balances:
    """The balance of each validator before the first and after the last row of its ledger."""

    def __init__(self) -> None:
        nothing = np.zeros(0, dtype=np.int64)
        self.opening: pd.Series[int] = pd.Series(nothing, index=nothing, dtype="Int64")
        self.closing: pd.Series[int] = self.opening

    def add(self, ledger: pd.DataFrame) -> None:
        """Take the ledger of the epochs that follow, by epoch."""
        by_validator = ledger.set_index("validator_index")
        first = by_validator.loc[~by_validator.index.duplicated(keep="first"), "opening_balance"]
        last = by_validator.loc[~by_validator.index.duplicated(keep="last"), "closing_balance"]
        self.opening = self.opening.combine_first(first.astype("Int64"))
        self.closing = last.astype("Int64").combine_first(self.closing)


def _pieces(warehouse: Warehouse, epochs: Sequence[int], rows: int) -> Iterator[list[int]]:
    """The epochs in pieces whose tables have about ``rows`` rows."""
    if not epochs:
        return
    watched = len(warehouse.read("effectiveness_scores", epochs=epochs[:1], columns=["epoch"]))
    length = max(1, rows // max(1, watched))
    for first in range(0, len(epochs), length):
        yield list(epochs[first : first + length])
