"""The sums of a UTC day from the stored facts of its epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.frames.conform import conform
from valmon_pipeline.frames.sums import sum_columns
from valmon_pipeline.scoring.facts import FACT_COLUMNS, add_facts
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
    epochs = warehouse.read("network_epochs", epochs=due, columns=["epoch", "finalized"])
    stored = epochs["epoch"].tolist()
    sums = SumsByValidator()
    for piece in _pieces(warehouse, stored, rows_at_once):
        facts = {
            table: warehouse.read(table, epochs=piece, columns=columns)
            for table, columns in FACT_COLUMNS.items()
        }
        sums.include(facts["effectiveness_scores"]["validator_index"].to_numpy(np.int64))
        add_facts(sums, facts)
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
            "finalized": everybody(bool(epochs["finalized"].all())),
            **{name: sums.total(name) for name in sum_columns()},
        },
    )


def _pieces(warehouse: Warehouse, epochs: Sequence[int], rows: int) -> Iterator[list[int]]:
    """The epochs in pieces whose tables have about ``rows`` rows."""
    if not epochs:
        return
    watched = len(warehouse.read("effectiveness_scores", epochs=epochs[:1], columns=["epoch"]))
    length = max(1, rows // max(1, watched))
    for first in range(0, len(epochs), length):
        yield list(epochs[first : first + length])
