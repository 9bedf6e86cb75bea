"""Order of evaluation: an epoch waits for older ones that are being loaded, at most a stated time.

A streak that is judged before its middle is stored is no streak. So the rules are applied to epochs
in ascending order, and one behind a gap waits while runs are at work on the gap, or may be soon.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Final

from valmon_pipeline.storage.alert_store import DueEpoch

LONGEST_WAIT: Final = timedelta(minutes=20)
"""An epoch is evaluated so long after it was stored, whatever is still missing before it."""
QUIET: Final = timedelta(minutes=2)
"""Epochs that no run has been at work on for so long are missing: the sensor that requests runs
ticks every few seconds."""


class LoadingWatch:
    """Waits for epochs that are being loaded. It remembers when it last saw one that something
    waits for, and ``since`` when it can have seen any."""

    def __init__(self, since: datetime) -> None:
        self._since = since
        self._seen_at: datetime | None = None

    def must_wait(
        self, due: DueEpoch, now: datetime, epochs_under_way: Callable[[], Collection[int]]
    ) -> bool:
        """True while ``due`` waits for an epoch of its gap, or for its own standings.

        ``epochs_under_way`` gives those of runs that are requested, queued or running; it is asked
        only if something may wait for them.

        The first epoch that is ever evaluated waits only for what runs are, or were, at work on:
        nothing else is known to belong before it.
        """
        if due.has_standings and not due.gap:
            return False
        if now - due.materialized_at >= LONGEST_WAIT:
            return False
        under_way = epochs_under_way()
        if any(epoch in due.gap for epoch in under_way):
            self._seen_at = now
            return True
        if not due.has_standings and due.epoch in under_way:
            return True
        if not due.gap or (due.is_first and self._seen_at is None):
            return nothing_is_loaded(due, now)
        return now - max(self._seen_at or self._since, due.materialized_at) < QUIET


def nothing_is_loaded(due: DueEpoch, now: datetime) -> bool:
    """The rule where no run is at work: only standings that are still to be made are waited for,
    which the step after the facts makes."""
    return not due.has_standings and now - due.materialized_at < QUIET
