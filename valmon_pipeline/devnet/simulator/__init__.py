"""A beacon node whose chain is computed: rules of the consensus specification, scripted incidents.

Belongs here: the simulated chain (state transition over the whole registry in NumPy), the script of
incidents, and the answers of the Beacon API about it. Written from the specification and not from
``valmon_pipeline.chain``: what valmon derives is tested against a second opinion.

Data flow: ``presets`` (``config/spec``) → ``Parameters`` → ``Simulation``, which for each slot lets
the scripted validators vote (``votes``), packs a block (``block_building``) and applies it to the
``State`` (``block_processing``, ``epoch_processing``), and remembers every state (``history``).
``SimulatedNode`` answers from that memory over HTTP.
"""

from __future__ import annotations

from valmon_pipeline.devnet.simulator.genesis import Genesis
from valmon_pipeline.devnet.simulator.presets import config
from valmon_pipeline.devnet.simulator.simulated_node import SimulatedNode, simulated_node
from valmon_pipeline.devnet.simulator.simulation import Simulation

__all__ = ["Genesis", "SimulatedNode", "Simulation", "config", "simulated_node"]
