"""valmon's own pipeline on simulated chains: all checks pass, as they do on a real one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pytest

from valmon_pipeline.devnet.simulator import Simulation, config, simulated_node
from valmon_pipeline.devnet.simulator.incidents import (
    Incident,
    LateBlock,
    Miss,
    Offline,
    ProposerSlashing,
    SkippedSlot,
)
from valmon_pipeline_tests.assets.epochs import CHECKS_OF_STATES, NETWORK, Computed, compute
from valmon_pipeline_tests.devnet.simulator.busy_chain import LAST_EPOCH, LEAK, busy_chain


@dataclass(frozen=True, slots=True)
class Chain:
    """A kind of chain: its parameters, its size and how far it goes."""

    spec: dict[str, str]
    validators: int
    epochs: int

    def incidents(self) -> Sequence[Incident]:
        """A few things that go wrong on every chain."""
        slots = int(self.spec["SLOTS_PER_EPOCH"])
        return (
            Miss([1, 2], range(1, 3)),
            Offline([5], range(1, 4)),
            SkippedSlot(slots),
            SkippedSlot(2 * slots + 3),
            LateBlock(2 * slots + 5),
            ProposerSlashing(2 * slots + 1, 9),
        )


CHAINS = {
    "minimal, Electra": Chain(config("minimal"), 160, 9),
    "minimal, Deneb to Electra": Chain(config("minimal", electra_epoch=3), 160, 9),
    "minimal, Fulu from epoch 2": Chain(config("minimal", fulu_epoch=2), 160, 9),
    "gnosis": Chain(config("gnosis"), 320, 8),
    "mainnet": Chain(config("mainnet", slot_duration_ms=12_000), 400, 7),
}


def assert_everything_agrees(computed: Computed) -> None:
    assert {key: result.detail for key, result in computed.failing_checks().items()} == {}
    compared = pd.DataFrame(
        [
            (result.name, result.compared)
            for frames in computed.frames.values()
            for result in frames.checks
        ],
        columns=["check", "compared"],
    )
    # A check that compared nothing has shown nothing.
    compared = compared[~compared["check"].isin(CHECKS_OF_STATES)]
    assert (compared.groupby("check")["compared"].sum() > 0).all()


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_every_check_passes(chain: Chain) -> None:
    simulation = Simulation(
        chain.spec, chain.validators, seed=3, incidents=chain.incidents(), miss_rate=0.03
    )
    simulation.advance_to_epoch(chain.epochs)
    assert simulation.finalized_epoch == chain.epochs - 2
    with simulated_node(simulation) as node:
        assert_everything_agrees(compute(node.url, NETWORK, range(chain.epochs - 3)))


@pytest.fixture(scope="module")
def busy() -> Computed:
    with simulated_node(busy_chain()) as node:
        return compute(node.url, NETWORK, range(1, LAST_EPOCH - 4))


def test_every_check_passes_where_everything_happens(busy: Computed) -> None:
    assert_everything_agrees(busy)


def test_the_leak_is_found_where_it_was_scripted(busy: Computed) -> None:
    leaking = [
        epoch
        for epoch, frames in busy.frames.items()
        if bool(frames.tables["network_epochs"]["leak"].iloc[0])
    ]
    # Finality stands at 22 from epoch 24 on, so epoch 27 is the first to leak. The votes of the
    # first epoch with everybody back finalize it before they are paid.
    assert leaking == list(range(27, LEAK.epochs.stop))
