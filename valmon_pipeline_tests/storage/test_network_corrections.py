"""Whoever stores another network over a stored epoch leaves word of what changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.chain.network_epoch import NetworkEpoch
from valmon_pipeline.storage import network_corrections as module
from valmon_pipeline.storage.network_corrections import network_changes
from valmon_pipeline.storage.network_packing import pack_span
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.conftest import DEVNET
from valmon_pipeline_tests.network_epochs import any_network, plain_network
from valmon_pipeline_tests.sample_frames import sample_frame


def changed(network: NetworkEpoch, column: str, validator: int, value: int) -> NetworkEpoch:
    values = getattr(network, column).copy()
    values[validator] = value
    return replace(network, **{column: values})


def store(warehouse: Warehouse, network: NetworkEpoch) -> dict[str, int]:
    frame = sample_frame("network_epochs", network.epoch).assign(finalized=True)
    return warehouse.replace_epoch(
        network.epoch, {"network_epochs": frame}, network=network, correction_reason="a test"
    )


@pytest.mark.parametrize("packed", [False, True])
def test_every_value_that_changed_is_entered(warehouse: Warehouse, packed: bool) -> None:
    network = plain_network(3, 700)
    assert "corrections" not in store(warehouse, network)
    if packed:
        pack_span(warehouse, range(DEVNET.partition_epochs))
    other = changed(changed(network, "balance", 17, 5), "source_reward", 601, -(2**40))
    other = replace(other, percentile_rank=np.zeros(700, dtype=np.float32))
    assert store(warehouse, other)["corrections"] == 2
    rows = warehouse.read("corrections")
    assert set(rows["table_name"]) == {"network_validators"}
    assert set(rows["reason"]) == {"a test"}
    assert rows[["column_name", "validator_index", "old_value", "new_value"]].values.tolist() == [
        ["balance", 17, str(network.balance[17]), "5"],
        ["source_reward", 601, str(network.source_reward[601]), str(-(2**40))],
    ]


def test_the_same_network_again_is_no_correction(warehouse: Warehouse) -> None:
    network = any_network(3, 60)
    store(warehouse, network)
    assert "corrections" not in store(warehouse, network)


def test_many_changes_of_a_column_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENTRIES_PER_COLUMN", 3)
    network = plain_network(3, 20)
    changes = network_changes(network, replace(network, slashed=~network.slashed))
    assert changes["validator_index"].isna().tolist() == [True]
    assert changes["old_value"].tolist() == ["20 validators, e.g. 0: false"]
    assert changes["new_value"].tolist() == ["20 validators, e.g. 0: true"]


def test_a_validator_on_one_side_has_no_other_value() -> None:
    changes = network_changes(plain_network(3, 20), plain_network(3, 21))
    joined = changes[changes["validator_index"] == 20]
    assert set(joined["column_name"]) == set(module.COMPARED)
    assert joined["old_value"].isna().all()
    assert not joined["new_value"].isna().any()
    left = network_changes(plain_network(3, 21), plain_network(3, 20))
    assert pd.isna(left.loc[left["validator_index"] == 20, "new_value"]).all()
