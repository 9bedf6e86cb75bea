"""A chain on which everything happens that can be scripted, within 40 epochs of eight slots."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

from valmon_pipeline.devnet.simulator import Simulation, config
from valmon_pipeline.devnet.simulator.incidents import (
    AttesterSlashing,
    Consolidation,
    CredentialChange,
    Deposit,
    ExitRequest,
    Incident,
    LateBlock,
    LateInclusion,
    Miss,
    MissProposal,
    MissSync,
    Offline,
    PartialWithdrawalRequest,
    ProposerSlashing,
    Reorg,
    SkippedSlot,
    SwitchToCompounding,
    TopUp,
    VoluntaryExit,
    WrongHead,
)

VALIDATORS: Final = 128
LAST_EPOCH: Final = 48
LEAK: Final = Offline(range(80, 128), range(24, 32))

SCRIPT: Final[Sequence[Incident]] = (
    Miss([3, 4], range(2, 5)),
    MissSync(range(10), range(2, 4)),
    MissProposal(range(20, 30), range(3, 6)),
    LateInclusion(range(30, 40), range(3, 6), delay=3),
    WrongHead(range(40, 60), 45),
    SkippedSlot(21),
    SkippedSlot(64),  # the first of an epoch
    LateBlock(29),
    LateBlock(80),  # the first of an epoch
    Reorg(55, 2),
    Reorg(97, 2),  # over the border of an epoch
    TopUp(12, 5, 1_000_000_000),  # before Electra: by the bridge
    Deposit(12, 32_000_000_000),
    Deposit(44, 32_000_000_000, "compounding"),
    Deposit(45, 1_000_000_000, "bls"),
    TopUp(46, 33, 40_000_000_000),
    VoluntaryExit(40, 10),
    VoluntaryExit(40, 16),
    ProposerSlashing(59, 100),
    AttesterSlashing(67, [121, 122]),
    AttesterSlashing(70, [121, 123]),
    PartialWithdrawalRequest(110, 33, 3_000_000_000),
    PartialWithdrawalRequest(110, 2, 3_000_000_000),  # not compounding: ignored
    ExitRequest(78, 18),
    CredentialChange(83, 8),
    SwitchToCompounding(90, 26),
    Consolidation(99, 27, 33),
    Consolidation(99, 28, 29),  # the target is not compounding: ignored
    TopUp(120, 10, 1_000_000_000),  # has left
    LEAK,
)


@cache
def busy_chain(electra_epoch: int = 4, fulu_epoch: int | None = 10) -> Simulation:
    """The chain, at the first slot of ``LAST_EPOCH``; do not advance it."""
    simulation = Simulation(
        config("minimal", electra_epoch=electra_epoch, fulu_epoch=fulu_epoch),
        VALIDATORS,
        seed=11,
        incidents=SCRIPT,
        miss_rate=0.01,
        repeats=1,
    )
    simulation.advance_to_epoch(LAST_EPOCH)
    return simulation
