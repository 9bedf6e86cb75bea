"""Tags of runs: what a run may store, why it was started, and what it must not delay."""

from __future__ import annotations

from typing import Final

PROVISIONAL_TAG: Final = "valmon/provisional"
"""``true``: epochs are stored as soon as their window has closed, before they are final."""

REASON_TAG: Final = "valmon/reason"
"""Why epochs that are stored already are materialized again; entered with every correction."""

WORK_TAG: Final = "valmon/work"
"""A kind of work below, or ``refresh``; the run queue limits how many runs catch up."""

NETWORK_TAG: Final = "valmon/network"
"""The network of the run's epochs: an instance can hold several."""

SPLIT_TAG: Final = "valmon/split_from"
"""The run of which this one has a stretch of epochs, since others of its batch failed."""

KEPT_TAGS: Final = frozenset({PROVISIONAL_TAG, REASON_TAG, WORK_TAG, NETWORK_TAG})
"""Tags that a run has in common with the run it is split from."""
LIVE: Final = "live"
"""The newest epoch, as soon as its window has closed."""

CATCH_UP: Final = "catch_up"
"""Older epochs that are missing."""

FINALITY: Final = "finality"
"""An epoch whose chain was reorganized before it was final."""

COMPLETION: Final = "completion"
"""An epoch that is stored, of which not everything is known."""
