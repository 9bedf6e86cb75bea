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


def finalized_epoch_after_transition(
    epoch: int,
    justification_bits: int,
    checkpoints: FinalityCheckpoints,
    *,
    previous_target_justified: bool,
    current_target_justified: bool,
) -> int:
    """The finalized epoch after the transition at the end of ``epoch``.

    ``justification_bits`` (bit k: the epoch k before is justified) and ``checkpoints`` are those of
    a state in ``epoch`` before it; the two booleans say whether unslashed validators with two
    thirds of the active balance voted for the target of the epoch before and of ``epoch``.

    Source: consensus-specs, phase0: ``weigh_justification_and_finalization``.
    """
    if epoch <= 1:
        return checkpoints.finalized.epoch
    bits = justification_bits << 1
    bits |= previous_target_justified << 1 | current_target_justified
    previous, current = checkpoints.previous_justified.epoch, checkpoints.current_justified.epoch
    finalized = checkpoints.finalized.epoch
    for justified, source, distance in (
        (0b1110, previous, 3),
        (0b0110, previous, 2),
        (0b0111, current, 2),
        (0b0011, current, 1),
    ):
        if bits & justified == justified and source + distance == epoch:
            finalized = source
    return finalized
