"""Which epochs are provisional, and what marking them final touches."""

from __future__ import annotations

import pandas as pd
import pytest

from valmon_pipeline.storage.finality import (
    ProvisionalEpoch,
    first_stored_epoch,
    mark_final,
    provisional_epochs,
    stored_epochs,
)
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.sample_frames import sample_frame


def store(warehouse: Warehouse, epoch: int, *, finalized: bool) -> None:
    frame = sample_frame("network_epochs", epoch)
    root = pd.Series([bytes([epoch]) * 32], dtype=object)
    frame = frame.assign(finalized=finalized, window_root=root)
    warehouse.replace_epoch(epoch, {"network_epochs": frame})


@pytest.fixture
def stored(warehouse: Warehouse) -> Warehouse:
    """Epochs 3 to 7, of which 4 is final."""
    for epoch in (7, 3, 4, 6):
        store(warehouse, epoch, finalized=epoch == 4)
    return warehouse


def test_provisional_epochs_come_oldest_first_and_no_more_than_asked(stored: Warehouse) -> None:
    three, six = ProvisionalEpoch(3, b"\x03" * 32), ProvisionalEpoch(6, b"\x06" * 32)
    assert provisional_epochs(stored.database, first=0, limit=2) == [three, six]
    assert provisional_epochs(stored.database, first=3, limit=1) == [three]
    assert provisional_epochs(stored.database, first=4, limit=1) == [six]
    assert provisional_epochs(stored.database, first=8, limit=1) == []


def test_epochs_are_marked_only_on_the_root_they_rest_on(stored: Warehouse) -> None:
    roots = {3: b"\x03" * 32, 4: b"\x04" * 32, 5: b"\x05" * 32, 6: b"\x00" * 32}
    assert mark_final(stored.database, roots) == [3]
    assert mark_final(stored.database, {}) == []
    left = provisional_epochs(stored.database, first=0, limit=9)
    assert [provisional.epoch for provisional in left] == [6, 7]


def test_marking_final_is_no_correction(stored: Warehouse) -> None:
    mark_final(stored.database, {3: b"\x03" * 32})
    store(stored, 3, finalized=True)
    store(stored, 6, finalized=True)
    assert len(stored.read("corrections")) == 0


def test_stored_epochs_are_listed(stored: Warehouse) -> None:
    assert stored_epochs(stored.database, first=4, last=6) == [4, 6]
    assert first_stored_epoch(stored.database) == 3


def test_nothing_is_stored_at_first(warehouse: Warehouse) -> None:
    assert first_stored_epoch(warehouse.database) is None
    assert stored_epochs(warehouse.database, first=0, last=9) == []
