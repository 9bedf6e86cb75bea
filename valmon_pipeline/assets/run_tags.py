"""Tags of runs: what a run may store, why it was started, and what it must not delay."""

from __future__ import annotations

from typing import Final

PROVISIONAL_TAG: Final = "valmon/provisional"
"""``true``: epochs are stored as soon as their window has closed, before they are final."""

REASON_TAG: Final = "valmon/reason"
"""Why epochs that are stored already are materialized again; entered with every correction."""

WORK_TAG: Final = "valmon/work"
"""``live``, ``catch_up``, ``finality`` or ``refresh``; the run queue limits how many catch up."""

NETWORK_TAG: Final = "valmon/network"
"""The network of the run's epochs: an instance can hold several."""
CATCH_UP: Final = "catch_up"
"""The work of a run that makes up for missed epochs."""
COMPLETION: Final = "completion"
"""The work of a run that reads an epoch again of which not everything is known."""
