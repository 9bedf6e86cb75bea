"""Which epochs to materialize next: pure arithmetic on what the chain has and the tables lack.

The newest epoch never waits for older ones; older ones come oldest first, a bounded number at a
time. Epochs that failed before wait longer each time, so that a few that cannot be read (pruned by
the node) do not keep all others waiting.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

LONGEST_WAIT_EPOCHS: Final = 225
EPOCHS_OPEN: Final = 2
"""Epochs up to the head's whose attestation window is open: its own and the one before."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Number of runs that failed on an epoch, and the newest closed epoch when the last one did."""

    count: int
    newest: int

    def is_over(self, newest: int) -> bool:
        """Whether it is time to try again: after 1, 2, 4 … at most 225 further epochs."""
        return newest - self.newest >= min(LONGEST_WAIT_EPOCHS, 1 << (self.count - 1))


@dataclass(frozen=True, slots=True)
class CatchUpPlan:
    """Epochs to launch now. ``newest`` gets a run of its own, ``older`` epochs ascend."""

    newest: int | None
    older: tuple[int, ...]


def newest_closed_epoch(head_slot: int, slots_per_epoch: int) -> int:
    """The newest epoch whose attestation window is closed: E with a block at or after S_{E+2}.

    Negative if none is yet.
    """
    return head_slot // slots_per_epoch - EPOCHS_OPEN


def first_epoch_due(
    newest: int, *, start_epoch: int | None, first_stored: int | None, kept_epochs: int | None
) -> int:
    """The oldest epoch to have: that configured, else the first one stored, else the newest.

    Never one that retention (``kept_epochs``, None for no limit) would drop again.
    """
    first = start_epoch if start_epoch is not None else first_stored
    first = newest if first is None else min(first, newest)
    return max(0, first if kept_epochs is None else max(first, newest - kept_epochs + 1))


def missing_epochs(first: int, newest: int, stored: Iterable[int]) -> list[int]:
    """The epochs ``first`` to ``newest`` that are not stored, ascending."""
    due = np.arange(first, newest + 1, dtype=np.int64)
    missing: list[int] = np.setdiff1d(due, np.fromiter(stored, np.int64)).tolist()
    return missing


def plan_catch_up(
    missing: Iterable[int],
    newest: int,
    *,
    under_way: Collection[int],
    attempts: Mapping[int, Attempt],
    limit: int,
) -> CatchUpPlan:
    """Choose what to launch of the ``missing`` epochs: ``newest``, and up to ``limit`` older ones.

    ``under_way`` are epochs that runs hold or that were requested, ``attempts`` failed.
    """
    ready: list[tuple[int, int]] = []
    for epoch in missing:
        attempt = attempts.get(epoch)
        if epoch in under_way or (attempt is not None and not attempt.is_over(newest)):
            continue
        ready.append((attempt.count if attempt else 0, epoch))
    own_run = newest if ready and ready[-1][1] == newest else None
    if own_run is not None:
        ready.pop()
    return CatchUpPlan(own_run, tuple(sorted(epoch for _, epoch in sorted(ready)[:limit])))


def spans_of(attempts: Mapping[int, Attempt]) -> list[list[int]]:
    """Attempts as ``[first, last, count, newest]`` per span of equal neighbours, for a cursor."""
    spans: list[list[int]] = []
    for epoch, attempt in sorted(attempts.items()):
        if spans and spans[-1][1:] == [epoch - 1, attempt.count, attempt.newest]:
            spans[-1][1] = epoch
        else:
            spans.append([epoch, epoch, attempt.count, attempt.newest])
    return spans


def attempts_of(spans: Iterable[Sequence[int]]) -> dict[int, Attempt]:
    """The attempts that ``spans_of`` wrote."""
    return {
        epoch: Attempt(count, newest)
        for first, last, count, newest in spans
        for epoch in range(first, last + 1)
    }
