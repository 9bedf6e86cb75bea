"""When everything in these tests happens: the recorded chain is told to run in November 2026."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

EPOCHS: Final = range(8, 14)
HEAD_SLOT: Final = 8 * (EPOCHS[-1] + 2) + 3
"""In the epoch in which the newest stored one became complete."""
SLOT_MS: Final = 600_000
GENESIS: Final = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp()) - 8 * EPOCHS[0] * 600
"""The first stored epoch begins with a UTC day, of whose hours each lasts six slots."""


def time_of(slot: int) -> datetime:
    """The middle of a slot."""
    return datetime.fromtimestamp(GENESIS + (slot + 0.5) * SLOT_MS / 1000, UTC)
