"""Epochs are stored before they are final: as soon as, and only if, their window is one chain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from valmon_pipeline.assets.loading import LoadOutcome
from valmon_pipeline.devnet.replay_node import ReplayNode
from valmon_pipeline.errors import NodeNotReadyError
from valmon_pipeline.reading.epoch_reader import EpochReader
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import NETWORK, client_opener
from valmon_pipeline_tests.assets.stored import fresh_warehouse, stored_epochs, table_hashes
from valmon_pipeline_tests.live_chain import (
    BLOCKS,
    CHECKPOINTS,
    HEADERS,
    LiveChain,
    live_chain,
    setting,
)
from valmon_pipeline_tests.recording import devnet

EPOCH = 11
"""Its window is slots 88 to 103; slots 91, 100 and 106 were skipped."""


@pytest.fixture(scope="module")
def chain(true_node: ReplayNode) -> Iterator[LiveChain]:
    with live_chain(true_node.recording) as chain:
        yield chain


@pytest.fixture
def warehouse(database_url: str) -> Iterator[Warehouse]:
    with fresh_warehouse(database_url) as warehouse:
        yield warehouse


def run(
    chain: LiveChain, warehouse: Warehouse, epochs: Sequence[int] = (EPOCH,), **how: Any
) -> LoadOutcome:
    how = {"provisional": True, "deadline_seconds": 20, **how}
    return EpochLoader(client_opener(chain.url), warehouse, NETWORK, **how).run(epochs)


def finality_of(warehouse: Warehouse) -> dict[int, bool]:
    frame = warehouse.read("network_epochs", columns=["epoch", "finalized"])
    return dict(zip(frame["epoch"].tolist(), frame["finalized"].tolist(), strict=True))


def hashes_apart_from_finality(warehouse: Warehouse) -> dict[str, str]:
    with warehouse.database.transaction("pretend") as connection:
        connection.exec_driver_sql(f"UPDATE {warehouse.schema}.network_epochs SET finalized = true")
    return table_hashes(warehouse)


def test_an_epoch_waits_for_the_end_of_its_window(chain: LiveChain, warehouse: Warehouse) -> None:
    chain.go_to(103)
    assert run(chain, warehouse).failures == {
        EPOCH: f"the attestation window of epoch {EPOCH} is not closed yet: that takes a block "
        f"after slot 103, and the head of {chain.url} is at slot 103"
    }
    chain.go_to(104)
    assert run(chain, warehouse).stored == [EPOCH]
    assert finality_of(warehouse) == {EPOCH: False}


def test_without_being_asked_to_nothing_provisional_is_stored(
    chain: LiveChain, warehouse: Warehouse
) -> None:
    chain.go_to(104)
    outcome = run(chain, warehouse, provisional=False)
    assert f"epoch {EPOCH} is not final yet" in outcome.failures[EPOCH]
    assert stored_epochs(warehouse) == []


@pytest.mark.parametrize("epoch", [8, 20, 24, 35])
def test_provisional_rows_are_those_that_become_final(
    chain: LiveChain, warehouse: Warehouse, true_node_url: str, database_url: str, epoch: int
) -> None:
    """The window's first slot was skipped in 24 and 35, the slot after it in 20 and 24,
    its last slot in 20, and there was no finality from 14 to 24."""
    chain.close_window(epoch)
    assert run(chain, warehouse, [epoch]).stored == [epoch]
    assert finality_of(warehouse) == {epoch: False}
    with fresh_warehouse(database_url) as final:
        EpochLoader(client_opener(true_node_url), final, NETWORK).run([epoch])
        assert finality_of(final) == {epoch: True}
        # The nodes differ in when genesis was and in their address.
        final_hashes, hashes = table_hashes(final), hashes_apart_from_finality(warehouse)
    for table in ("network_epochs", "check_results"):
        del final_hashes[table], hashes[table]
    assert hashes == final_hashes


def test_provisional_rows_become_final_without_a_correction(
    chain: LiveChain, warehouse: Warehouse
) -> None:
    chain.close_window(EPOCH)
    run(chain, warehouse)
    chain.finalize(EPOCH)
    assert run(chain, warehouse).stored == [EPOCH]
    assert finality_of(warehouse) == {EPOCH: True}
    assert len(warehouse.read("corrections")) == 0


@pytest.mark.parametrize("times", [1, None])
@pytest.mark.parametrize("slot", [88, 96, 103])
def test_a_block_that_the_node_does_not_find_by_its_slot_is_not_missed(
    chain: LiveChain, warehouse: Warehouse, slot: int, times: int | None
) -> None:
    chain.go_to(104)
    with chain.hiding_by_slot(slot, times=times):
        assert run(chain, warehouse).failures == {}
    missed = warehouse.read("blocks", columns=["slot", "status"])
    assert missed.loc[missed["status"] == "missed", "slot"].tolist() == [91]


@pytest.mark.parametrize("slot", [88, 96, 103])
def test_a_node_that_lost_a_block_is_refused(
    chain: LiveChain, warehouse: Warehouse, slot: int
) -> None:
    chain.go_to(104)
    with chain.losing(slot):
        assert f"no block where slot {slot} is" in run(chain, warehouse).failures[EPOCH]
    assert stored_epochs(warehouse) == []


def test_a_reorg_while_an_epoch_is_read_is_noticed(chain: LiveChain, warehouse: Warehouse) -> None:
    chain.go_to(104)
    answers = iter([False])

    def spoil(body: Any) -> None:
        if not next(answers, True):
            setting("data", "header", "message", "parent_root", to="0x" + "ab" * 32)(body)

    with chain.faults.spoiling(f"{HEADERS}/104", spoil):
        assert run(chain, warehouse).stored == [EPOCH]

    answers = iter([False, False])
    with chain.faults.spoiling(f"{HEADERS}/104", spoil):
        reason = run(chain, warehouse).failures[EPOCH]
    assert "the chain changed while it was read" in reason
    assert chain.url in reason


def test_an_optimistic_or_syncing_node_is_not_stored(
    chain: LiveChain, warehouse: Warehouse
) -> None:
    chain.go_to(104)
    for field in ("is_optimistic", "is_syncing"):
        with (
            chain.faults.spoiling("/eth/v1/node/syncing", setting("data", field, to=True)),
            pytest.raises(NodeNotReadyError, match=field.removeprefix("is_")),
        ):
            run(chain, warehouse)
    optimistic = setting("execution_optimistic", to=True)
    with chain.faults.spoiling(f"{BLOCKS}/103", optimistic):
        assert "optimistic" in run(chain, warehouse).failures[EPOCH]
    assert stored_epochs(warehouse) == []


def test_reading_on_and_on_without_finality_keeps_no_more_than_three_epochs(
    chain: LiveChain,
) -> None:
    chain.go_to(351)
    never = setting("data", "finalized", "epoch", to="0")

    async def read() -> list[int]:
        async with client_opener(chain.url)() as client:
            reader = await EpochReader.open(client, NETWORK)
            kept = []
            for epoch in range(5, 35):
                answers = await reader.read(epoch, provisional=True)
                assert not answers.finalized
                kept.append(len(reader._windows._by_slot) + len(reader._windows._by_root))
                assert len(reader._registries._kept) == 2
            return kept

    with chain.faults.spoiling(CHECKPOINTS, never):
        # Up to the first block after the window.
        assert max(asyncio.run(read())) <= 3 * devnet().spec.slots_per_epoch + 3
