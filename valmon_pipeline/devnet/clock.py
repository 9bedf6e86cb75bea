"""Where the replayed chain stands now: at its end, or moving along with the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Tells the slot that the replayed chain has reached."""

    def slot(self) -> int:
        """Return the current slot."""
        ...

    @property
    def is_live(self) -> bool:
        """Whether the slot moves."""
        ...


@dataclass(frozen=True, slots=True)
class StoppedClock:
    """The chain stands at its last recorded slot; all recorded history is there."""

    last_slot: int

    def slot(self) -> int:
        """Return the last recorded slot."""
        return self.last_slot

    @property
    def is_live(self) -> bool:
        """Whether the slot moves: no."""
        return False


@dataclass(frozen=True, slots=True)
class LiveClock:
    """The chain moves with the wall clock until its last recorded slot, and stays there.

    ``genesis_time`` is in whole Unix seconds, as the API has it; ``slot_duration_ms`` is the
    duration that the node reports, already divided by the speed.
    """

    genesis_time: int
    slot_duration_ms: int
    last_slot: int
    now: Callable[[], float] = time.time

    @classmethod
    def starting_now(
        cls,
        start_slot: int,
        last_slot: int,
        slot_duration_ms: int,
        now: Callable[[], float] = time.time,
    ) -> LiveClock:
        """Return a clock that is at the beginning of ``start_slot`` now.

        The API knows whole seconds of genesis only, so the slot may already be up to a second old.
        """
        genesis_ms = round(now() * 1000) - start_slot * slot_duration_ms
        return cls(genesis_ms // 1000, slot_duration_ms, last_slot, now)

    def slot(self) -> int:
        """Return the slot of the wall clock, at most the last recorded one."""
        elapsed_ms = round(self.now() * 1000) - self.genesis_time * 1000
        return max(0, min(self.last_slot, elapsed_ms // self.slot_duration_ms))

    @property
    def is_live(self) -> bool:
        """Whether the slot moves: yes."""
        return True

    def time_of(self, slot: float) -> float:
        """Return when a slot begins, in Unix seconds."""
        return self.genesis_time + slot * self.slot_duration_ms / 1000

    def position(self) -> float:
        """Return the time in slots since genesis, not bounded by the last recorded slot."""
        return (self.now() - self.genesis_time) * 1000 / self.slot_duration_ms

    def seconds_until(self, slot: float) -> float:
        """Return the seconds until a time given in slots since genesis, 0 if it has passed."""
        return max(0.0, self.time_of(slot) - self.now())


class ManualClock:
    """Unix time that stands still until it is set: the ``now`` of nodes in tests.

    Give the same clock to the node and to the code that asks it, and move it slot by slot::

        clock = ManualClock()
        node = ReplayNode(path, live=True, start_slot=96, now=clock)
        clock.move_to(node.clock, 97)
    """

    def __init__(self, seconds: float = 1_800_000_000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        """Return the time in Unix seconds."""
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds

    def move_to(self, chain: Clock, slot: int, share: float = 0.5) -> None:
        """Set the time to within ``slot`` of a live chain, by default to its middle.

        Raises TypeError for a stopped chain, whose slot no time changes.
        """
        if not isinstance(chain, LiveClock):
            raise TypeError("The chain is stopped: make the node with live=True to move its clock")
        self.seconds = chain.time_of(slot) + share * chain.slot_duration_ms / 1000
