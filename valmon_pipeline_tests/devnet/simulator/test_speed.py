"""The simulator keeps up with any test: far from its limits, even on a busy machine."""

from __future__ import annotations

import time

from valmon_pipeline.devnet.simulator import Simulation, config


def test_a_thousand_validators_take_less_than_a_second_per_epoch() -> None:
    simulation = Simulation(config("minimal"), 1_000, miss_rate=0.01)
    started = time.process_time()
    simulation.advance_to_epoch(10)
    # 0.02 s on an idle machine.
    assert time.process_time() - started < 10
