"""Standings of one epoch, stored as the step ``standings`` does."""

from __future__ import annotations

import pandas as pd

from valmon_pipeline.storage.standings_due import STANDINGS, DueStandings
from valmon_pipeline.storage.step_frames import StandingStep
from valmon_pipeline.storage.warehouse import Warehouse


def replace_standings(warehouse: Warehouse, due: DueStandings, frame: pd.DataFrame) -> int | None:
    """Store the standings of an epoch that are due; corrections, None if nothing was stored."""
    stored = warehouse.store(StandingStep((due.epoch,), {STANDINGS: frame}, due={due.epoch: due}))
    return stored.corrections if stored.epochs else None
