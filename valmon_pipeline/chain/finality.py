"""Checkpoints, and which epoch a transition finalizes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An epoch and the root of the block at, or last before, its first slot."""

    epoch: int
    root: bytes


@dataclass(frozen=True, slots=True)
class FinalityCheckpoints:
    """The checkpoints of one beacon state; epoch 0 and a zero root before the first finality."""

    previous_justified: Checkpoint
    current_justified: Checkpoint
    finalized: Checkpoint
