"""valmon's follower on a simulated chain that the test moves slot by slot."""

from __future__ import annotations

import pytest

from valmon_pipeline.assets.live import LiveFollower
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.devnet.node_server import BackgroundNode
from valmon_pipeline.devnet.simulator import SimulatedNode, Simulation, config, simulated_node
from valmon_pipeline.devnet.simulator.incidents import (
    LateBlock,
    ProposerSlashing,
    Reorg,
    SkippedSlot,
    Syncing,
    VoluntaryExit,
)
from valmon_pipeline.errors import NodeNotReadyError
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epochs import client_opener

FIRST, LAST = 40, 62
EVERYBODY = Watch(indices=frozenset(range(128)))


def follower(node: BackgroundNode[SimulatedNode], tables: Warehouse) -> LiveFollower:
    """A follower whose clock is the chain's."""
    return LiveFollower(
        client_opener(node.url),
        lambda: tables,
        EVERYBODY,
        1,
        now_ms=lambda: round(node.node.now() * 1000),
    )


def test_the_follower_sees_what_was_scripted_and_nothing_else(database: Database) -> None:
    tables = Warehouse(database)
    simulation = Simulation(
        config("minimal"),
        128,
        seed=6,
        incidents=[
            SkippedSlot(45),
            Reorg(50, 2),
            LateBlock(55),
            ProposerSlashing(57, 9),
            VoluntaryExit(58, 10),
        ],
    )
    simulation.advance_to(FIRST)
    with simulated_node(simulation) as node:
        following = follower(node, tables)
        for slot in range(FIRST, LAST + 1):
            simulation.advance_to(slot)
            following.look()
    slots = tables.read("live_slots").set_index("slot")
    assert slots.index.tolist() == list(range(FIRST, LAST + 1))
    unusual = slots[(slots["status"] != "proposed") | slots["late"].fillna(False)]
    assert unusual["status"].to_dict() == {
        45: "missed",
        48: "orphaned",
        49: "orphaned",
        55: "proposed",
    }
    proposers = {slot: int(simulation.proposers(slot // 8)[slot % 8]) for slot in (45, 48, 49, 55)}
    events = tables.read("live_events").sort_values(["slot", "event_type"])
    events["validator_index"] = events["validator_index"].fillna(-1)
    columns = events[["slot", "event_type", "validator_index"]]
    assert list(columns.itertuples(index=False, name=None)) == [
        (45, "proposal_missed", proposers[45]),
        (48, "proposal_missed", proposers[48]),
        (49, "proposal_missed", proposers[49]),
        (50, "reorg", -1),
        (55, "proposal_late", proposers[55]),
        (57, "slashed", 9),
        (58, "exit_initiated", 10),
    ]


def test_the_follower_does_not_believe_a_syncing_node(database: Database) -> None:
    simulation = Simulation(config("minimal"), 128, incidents=[Syncing(range(20, 23))])
    simulation.advance_to(20)
    with simulated_node(simulation) as node:
        following = follower(node, Warehouse(database))
        with pytest.raises(NodeNotReadyError):
            following.look()
        simulation.advance_to(23)
        assert following.look().head_slot == 23
