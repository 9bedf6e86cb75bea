"""What ``valmon devnet simulate`` does: a live node of a chain that has a past already."""

from __future__ import annotations

from pathlib import Path

from valmon_pipeline.devnet.simulator.presets import config
from valmon_pipeline.devnet.simulator.script_file import read_script
from valmon_pipeline.devnet.simulator.simulated_node import SimulatedNode
from valmon_pipeline.devnet.simulator.simulation import Simulation
from valmon_pipeline.errors import ConfigurationError


def simulate(
    validators: int,
    *,
    seed: int = 0,
    preset: str = "minimal",
    script: Path | None = None,
    start_epoch: int = 8,
    slot_duration_ms: int | None = None,
    electra_epoch: int = 0,
    fulu_epoch: int | None = None,
    miss_rate: float = 0.0,
    history_epochs: int | None = None,
) -> SimulatedNode:
    """Return a live node whose chain is at the first slot of ``start_epoch`` now.

    Raises:
        ConfigurationError: parameters or a script that cannot be played.
    """
    if start_epoch < 0:
        raise ConfigurationError(f"the chain cannot start at epoch {start_epoch}")
    spec = config(
        preset,
        electra_epoch=electra_epoch,
        fulu_epoch=fulu_epoch,
        slot_duration_ms=slot_duration_ms,
    )
    simulation = Simulation(
        spec,
        validators,
        seed=seed,
        incidents=[] if script is None else read_script(script),
        miss_rate=miss_rate,
        history_epochs=history_epochs,
    )
    simulation.advance_to_epoch(start_epoch)
    return SimulatedNode(simulation, live=True)
