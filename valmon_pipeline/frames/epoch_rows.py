"""One epoch's rows out of a frame of several."""

from __future__ import annotations

import numpy as np
import pandas as pd


def rows_of_epoch(frame: pd.DataFrame, epoch: int) -> pd.DataFrame:
    """The rows of ``epoch``; ``frame`` has a column ``epoch``, in ascending order. No copy."""
    start, end = np.searchsorted(frame["epoch"].to_numpy(), [epoch, epoch + 1])
    return frame.iloc[start:end].reset_index(drop=True)
