"""What is different when the whole network of an epoch that is stored already is stored again."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from valmon_pipeline.chain.network_epoch import NetworkEpoch

NETWORK_VALIDATORS: Final = "network_validators"
"""The view that shows the rows: the table name of these corrections."""

COMPARED: Final = (
    *("status", "active", "eligible", "slashed", "flags", "balance", "effective_balance"),
    *("inactivity_score", "source_reward", "target_reward", "head_reward"),
    *("inactivity_penalty", "ideal_reward", "duty_slot_in_epoch", "committee_index"),
    "committee_position",
)
"""All but effectiveness and rank: those follow from the rewards, and one validator that earned more
moves the ranks of a million."""

ENTRIES_PER_COLUMN: Final = 1000
"""Up to so many validators are entered one by one; of more, how many and an example."""


def network_changes(stored: NetworkEpoch, new: NetworkEpoch) -> pd.DataFrame:
    """One row per validator and column that differs: table_name, slot, validator_index,
    column_name, old_value, new_value; NULL for a validator on one side only. Where more than
    ``ENTRIES_PER_COLUMN`` differ in a column, one row without validator_index tells how many.
    """
    found = [_changes(name, getattr(stored, name), getattr(new, name)) for name in COMPARED]
    return pd.concat(found, ignore_index=True)


def _changes(name: str, old: npt.NDArray[Any], new: npt.NDArray[Any]) -> pd.DataFrame:
    both = min(len(old), len(new))
    one_side = np.arange(both, max(len(old), len(new)))
    rows = np.concatenate([np.flatnonzero(old[:both] != new[:both]), one_side])
    listed = rows[:1] if len(rows) > ENTRIES_PER_COLUMN else rows
    texts = [[_text(values, row) for row in listed] for values in (old, new)]
    indices = pd.array(listed, dtype="Int32")
    if len(rows) > ENTRIES_PER_COLUMN:
        was, now = (column[0] for column in texts)
        texts = [
            [f"{len(rows)} validators, e.g. {listed[0]}: {was}"],
            [f"{len(rows)} validators, e.g. {listed[0]}: {now}"],
        ]
        indices = pd.array([pd.NA], dtype="Int32")
    return pd.DataFrame(
        {
            "table_name": np.full(len(listed), NETWORK_VALIDATORS, dtype=object),
            "slot": pd.array([pd.NA] * len(listed), dtype="Int32"),
            "validator_index": indices,
            "column_name": np.full(len(listed), name, dtype=object),
            "old_value": pd.Series(texts[0], dtype="str"),
            "new_value": pd.Series(texts[1], dtype="str"),
        }
    )


def _text(values: npt.NDArray[Any], row: int) -> str | None:
    """A value as ``corrections`` has it."""
    if row >= len(values):
        return None
    return str(values[row]).lower()
