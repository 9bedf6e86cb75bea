"""The number of epochs that a run holds: its frames are in memory together."""

from __future__ import annotations

from typing import Final

from valmon_pipeline.config import Settings

ROWS_PER_RUN: Final = 200_000
"""Rows of the largest table, validators times epochs: some 300 MB with all tables."""
EPOCHS_OF_A_NETWORK: Final = 16
"""Where everybody is watched, their number is not known before the first run."""


def epochs_per_run(settings: Settings) -> int:
    """Return how many epochs of the watch list a run takes, at most
    ``backfill.max_epochs_per_run``."""
    watched = settings.watch_list
    if watched.everyone:
        fitting = EPOCHS_OF_A_NETWORK
    else:
        fitting = ROWS_PER_RUN // max(1, len(watched.indices) + len(watched.pubkeys))
    return max(1, min(fitting, settings.backfill.max_epochs_per_run))
