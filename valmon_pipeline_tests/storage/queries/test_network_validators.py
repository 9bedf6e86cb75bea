"""The view and the function of SQL say what the arrays say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.chain.network_epoch import NetworkEpoch
from valmon_pipeline.chain.status import ValidatorStatus
from valmon_pipeline.storage.network_rows import TILE_VALIDATORS
from valmon_pipeline.storage.queries import (
    Span,
    network_distribution,
    network_validator_history,
)
from valmon_pipeline.storage.queries.network_validators import HISTORY_TYPES
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.conftest import DEVNET
from valmon_pipeline_tests.network_epochs import any_network, plain_network


def expected(network: NetworkEpoch) -> pd.DataFrame:
    """The rows of ``network_validators`` for an epoch."""
    on_duty = pd.Series(network.duty_slot_in_epoch >= 0)
    slot = network.epoch * DEVNET.slots_per_epoch + network.duty_slot_in_epoch
    columns = {
        "epoch": np.full(len(network), network.epoch),
        "validator_index": np.arange(len(network)),
        "status": pd.Categorical.from_codes(
            network.status.astype(np.int64), dtype=pd.CategoricalDtype([*ValidatorStatus])
        ),
        **{
            f"{name}_timely": network.flags & bit != 0
            for name, bit in (("source", 1), ("target", 2), ("head", 4))
        },
        "slot": pd.Series(slot, dtype="Int64").where(on_duty),
    }
    for name in ("committee_index", "committee_position"):
        columns[name] = pd.Series(getattr(network, name), dtype="Int64").where(on_duty)
    for name in HISTORY_TYPES:
        if name not in columns:
            columns[name] = getattr(network, name)
    return pd.DataFrame(columns)[[*HISTORY_TYPES]].astype(HISTORY_TYPES)


def unpacked(warehouse: Warehouse, epoch: int) -> pd.DataFrame:
    with warehouse.database.transaction("read the view") as connection:
        rows = connection.exec_driver_sql(
            f"SELECT {', '.join(HISTORY_TYPES)} FROM {warehouse.schema}.network_validators "
            "WHERE epoch = %s ORDER BY validator_index",
            (epoch,),
        ).all()
    return pd.DataFrame(rows, columns=[*HISTORY_TYPES], dtype=object).astype(HISTORY_TYPES)


EPOCHS = (3, 4, 9, 10, 12)
"""Two child tables, and a gap in each."""


@pytest.fixture
def networks(warehouse: Warehouse) -> dict[int, NetworkEpoch]:
    stored = {epoch: plain_network(epoch, TILE_VALIDATORS + 20 + epoch) for epoch in EPOCHS}
    for epoch, network in stored.items():
        warehouse.replace_epoch(epoch, {}, network=network)
    return stored


def test_the_view_shows_every_validator(
    warehouse: Warehouse, networks: dict[int, NetworkEpoch]
) -> None:
    for epoch, network in networks.items():
        pd.testing.assert_frame_equal(unpacked(warehouse, epoch), expected(network))


@pytest.mark.parametrize("validator", [0, 4, TILE_VALIDATORS - 1, TILE_VALIDATORS])
def test_the_history_is_that_of_the_view(
    warehouse: Warehouse, networks: dict[int, NetworkEpoch], validator: int
) -> None:
    rows = pd.concat([expected(network).iloc[[validator]] for network in networks.values()])
    history = network_validator_history(warehouse, validator, Span(0, 100))
    pd.testing.assert_frame_equal(history, rows.reset_index(drop=True))
    between = network_validator_history(warehouse, validator, Span(4, 10))
    assert between["epoch"].tolist() == [4, 9, 10]


def test_a_validator_has_no_history_before_its_deposit(
    warehouse: Warehouse, networks: dict[int, NetworkEpoch]
) -> None:
    newcomer = len(networks[4])
    assert network_validator_history(warehouse, newcomer, Span(0, 100))["epoch"].tolist() == [
        *(9, 10, 12)
    ]
    assert network_validator_history(warehouse, 10**6, Span(0, 100)).empty


def test_amounts_beyond_32_bits_are_exact_in_sql(warehouse: Warehouse) -> None:
    network = any_network(5, 30)
    # Sums of rewards are sums in 64 bits, also in SQL.
    small = {
        name: getattr(network, name) % 2**60
        for name in ("source_reward", "target_reward", "head_reward", "inactivity_penalty")
    }
    network = type(network)(**{n: getattr(network, n) for n in network.__slots__} | small)
    warehouse.replace_epoch(5, {}, network=network)
    pd.testing.assert_frame_equal(unpacked(warehouse, 5), expected(network))


def test_the_distribution_counts_everybody_once(
    warehouse: Warehouse, networks: dict[int, NetworkEpoch]
) -> None:
    network = networks[9]
    found = network_distribution(warehouse, 9, "reward_effectiveness")
    values, counts = np.unique(network.reward_effectiveness[network.active], return_counts=True)
    assert found["value"].tolist() == values.tolist()
    assert found["validators"].tolist() == counts.tolist()
    statuses = network_distribution(warehouse, 9, "status")
    assert dict(zip(statuses["value"], statuses["validators"], strict=True)) == {
        "active_ongoing": int(network.active.sum()),
        "withdrawal_done": int((~network.active).sum()),
    }
