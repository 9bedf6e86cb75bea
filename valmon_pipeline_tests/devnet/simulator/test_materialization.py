"""Simulated epochs stored in PostgreSQL: provisional, corrected after a reorganization, final."""

from __future__ import annotations

from valmon_pipeline.devnet.simulator import Simulation, config, simulated_node
from valmon_pipeline.devnet.simulator.incidents import LateInclusion, Reorg
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import NETWORK, client_opener
from valmon_pipeline_tests.assets.stored import fresh_warehouse, table_hashes

EPOCH = 6
"""Slots 48 to 55; its votes can be included until slot 63."""
LATE = range(20)


def included(tables: Warehouse) -> dict[int, bool]:
    """Which of the late voters were included."""
    rows = tables.read("attestation_outcomes").set_index("validator_index")["included"]
    return {index: bool(rows[index]) for index in LATE}


def test_a_reorganization_corrects_what_was_stored_before_it(database_url: str) -> None:
    # Late votes are included in slots 56 to 63; the reorganization loses the blocks of 58 to 65.
    simulation = Simulation(
        config("minimal"),
        128,
        seed=5,
        incidents=[LateInclusion(LATE, range(EPOCH, EPOCH + 1), 8), Reorg(66, 8)],
    )
    simulation.advance_to(65)
    shuffling = simulation.record(48).shuffling
    voted_in_time = {
        index: index in shuffling.of_slot(0) or index in shuffling.of_slot(1) for index in LATE
    }
    assert set(voted_in_time.values()) == {True, False}
    with (
        simulated_node(simulation) as node,
        fresh_warehouse(database_url) as tables,
        fresh_warehouse(database_url) as afterwards,
    ):
        following = EpochLoader(client_opener(node.url), tables, NETWORK, provisional=True)
        assert following.run([EPOCH]).stored == [EPOCH]
        assert all(included(tables).values())
        assert len(tables.read("corrections")) == 0

        simulation.advance_to(67)
        assert following.run([EPOCH]).stored == [EPOCH]
        assert included(tables) == voted_in_time
        corrected = set(tables.read("corrections")["table_name"])
        assert "attestation_outcomes" in corrected
        assert "attestation_rewards" in corrected

        simulation.advance_to_epoch(12)
        assert following.run([EPOCH]).stored == [EPOCH]
        EpochLoader(client_opener(node.url), afterwards, NETWORK).run([EPOCH])
        assert table_hashes(tables) == table_hashes(afterwards)
        assert bool(tables.read("network_epochs")["finalized"].all())
        assert bool(tables.read("check_results")["passed"].all())
