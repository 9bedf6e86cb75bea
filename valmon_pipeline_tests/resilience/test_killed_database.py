"""The database dies in the middle of a COPY: nothing of the epoch is seen, and a resume repairs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage import warehouse as warehouse_module
from valmon_pipeline.storage.binary_copy import binary_copy
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import NETWORK, client_opener
from valmon_pipeline_tests.assets.stored import fresh_warehouse
from valmon_pipeline_tests.resilience.epoch_hashes import EPOCHS, EpochHashes, epoch_hashes

BEFORE, DURING, AFTER = EPOCHS[0], EPOCHS[1], EPOCHS[2]


@pytest.fixture
def server(postgres_home: Path) -> Iterator[EmbeddedPostgres]:
    """A server of this test's own, which may die."""
    server = EmbeddedPostgres(postgres_home)
    server.start()
    server.ensure_database("valmon")
    yield server
    server.stop()


def dying_at_copy(
    number: int, die: Callable[[], None]
) -> Callable[[pd.DataFrame], Iterator[bytes]]:
    """``binary_copy``, but the server dies between the pieces of the ``number``-th COPY."""
    copies = 0

    def copy(frame: pd.DataFrame) -> Iterator[bytes]:
        nonlocal copies
        copies += 1
        for piece in binary_copy(frame):
            if copies != number:
                yield piece
                continue
            middle = len(piece) // 2
            yield piece[:middle]
            die()
            yield piece[middle:]

    return copy


@pytest.mark.parametrize(
    "how",
    [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL],
    ids=["stop -m fast", "stop -m immediate", "kill -9"],
)
def test_a_database_that_dies_during_a_copy_costs_an_error_and_a_resume(
    server: EmbeddedPostgres,
    node_url: str,
    undisturbed: EpochHashes,
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
) -> None:
    postmaster = int((server.data_directory / "postmaster.pid").read_text().splitlines()[0])

    def materialize(warehouse: Warehouse, *epochs: int) -> dict[int, str]:
        materializer = EpochLoader(client_opener(node_url), warehouse, NETWORK)
        return materializer.run(epochs).failures

    with fresh_warehouse(server.url()) as warehouse:
        assert materialize(warehouse, BEFORE, DURING) == {}
        with monkeypatch.context() as patch:
            # The fifth table of an epoch that is stored already: four new ones are not visible.
            patch.setattr(
                warehouse_module,
                "binary_copy",
                dying_at_copy(5, lambda: os.kill(postmaster, how)),
            )
            with pytest.raises(StorageError, match=f"could not store 2 epochs from {DURING} to"):
                materialize(warehouse, DURING, AFTER)

        server.start()
        seen = epoch_hashes(warehouse)
        assert seen == {epoch: undisturbed[epoch] for epoch in (BEFORE, DURING)}
        assert materialize(warehouse, DURING, AFTER) == {}
        seen = epoch_hashes(warehouse)
        assert seen == {epoch: undisturbed[epoch] for epoch in (BEFORE, DURING, AFTER)}
