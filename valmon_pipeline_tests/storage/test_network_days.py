"""Days of the whole network are sums of its epochs, exact, wherever the epochs lie."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.chain.network_epoch import NetworkEpoch
from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage import network_days as module
from valmon_pipeline.storage.network_days import (
    NETWORK_DAYS,
    network_days,
    sum_up_network_day,
)
from valmon_pipeline.storage.network_packing import pack_span
from valmon_pipeline.storage.retention import drop_epochs_before
from valmon_pipeline.storage.stored_days import day_of_epoch, replace_day, stored_days
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.conftest import DEVNET
from valmon_pipeline_tests.network_epochs import any_network, plain_network
from valmon_pipeline_tests.sample_frames import sample_frame
from valmon_pipeline_tests.storage.test_retention import day_frame, store_again

EPOCHS_PER_DAY = 86_400_000 // (DEVNET.slots_per_epoch * DEVNET.slot_duration_ms)
MIDNIGHT = next(
    epoch
    for epoch in range(EPOCHS_PER_DAY)
    if day_of_epoch(DEVNET, epoch) > day_of_epoch(DEVNET, 0)
)
DAY = day_of_epoch(DEVNET, MIDNIGHT)
DUE = range(MIDNIGHT, MIDNIGHT + EPOCHS_PER_DAY)
SPAN = DEVNET.partition_epochs
FIRST = -(-MIDNIGHT // SPAN) * SPAN
"""The first span that is whole in the day."""
EPOCHS = (*range(FIRST, FIRST + SPAN), FIRST + SPAN, FIRST + SPAN + 3)
Networks = dict[int, NetworkEpoch]


def small(network: NetworkEpoch) -> NetworkEpoch:
    """With amounts whose sums over a day stay within 64 bits."""
    amounts = ("source_reward", "target_reward", "head_reward", "ideal_reward")
    return replace(
        network,
        **{name: getattr(network, name) // 2**8 for name in (*amounts, "inactivity_penalty")},
    )


def store(warehouse: Warehouse, networks: Networks, *, next_day: bool = True) -> None:
    later = {DUE.stop: plain_network(DUE.stop, 3)} if next_day else {}
    for epoch, network in (networks | later).items():
        frame = sample_frame("network_epochs", epoch).assign(finalized=True)
        warehouse.replace_epoch(epoch, {"network_epochs": frame}, network=network)


def expected(networks: Networks) -> pd.DataFrame:
    """The sums, made from the arrays in the plainest way."""
    n = max(map(len, networks.values()))

    def summed(values: list[np.ndarray]) -> np.ndarray:
        padded = [np.pad(one, (0, n - len(one))).astype(np.int64) for one in values]
        total: np.ndarray = np.stack(padded).sum(axis=0)
        return total

    def column(name: str) -> np.ndarray:
        return summed([getattr(network, name) for network in networks.values()])

    flags = [network.flags for network in networks.values()]
    frame = pd.DataFrame(
        {
            "day": np.full(n, np.datetime64(DAY, "ns")),
            "validator_index": np.arange(n, dtype=np.int32),
            "epochs": np.full(n, len(networks), dtype=np.int32),
            "complete": np.full(n, False),
            **{name: column(name).astype(np.int32) for name in ("active", "eligible")},
            **{
                f"{name}_timely": summed([one & bit != 0 for one in flags]).astype(np.int32)
                for name, bit in (("source", 1), ("target", 2), ("head", 4))
            },
            **{
                name: column(name)
                for name in (
                    *("source_reward", "target_reward", "head_reward"),
                    *("inactivity_penalty", "ideal_reward"),
                )
            },
            "closing_balance": summed([networks[max(networks)].balance]),
        }
    )
    took_part = (frame["active"] > 0) | (frame["eligible"] > 0)
    return frame[took_part].reset_index(drop=True)


@pytest.mark.parametrize("outcomes_at_once", [1, 10**6])
@pytest.mark.parametrize("packed", [False, True])
def test_the_sums_of_a_day_are_those_of_its_epochs(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, outcomes_at_once: int, packed: bool
) -> None:
    monkeypatch.setattr(module, "OUTCOMES_AT_ONCE", outcomes_at_once)
    networks = {epoch: small(any_network(epoch, 30 + epoch - FIRST)) for epoch in EPOCHS}
    store(warehouse, networks)
    if packed:
        assert pack_span(warehouse, range(FIRST, FIRST + SPAN)) is not None
    rows = sum_up_network_day(warehouse, DAY, DUE)
    found = warehouse.read(NETWORK_DAYS)
    assert rows == len(found)
    pd.testing.assert_frame_equal(found, expected(networks))


def test_a_day_is_due_once_it_is_over_and_until_it_is_summed_up(warehouse: Warehouse) -> None:
    networks = {epoch: plain_network(epoch, 20) for epoch in EPOCHS[:3]}
    store(warehouse, networks, next_day=False)
    assert [found.is_due for found in network_days(warehouse)] == [False]
    store(warehouse, networks)
    assert [found.is_due for found in network_days(warehouse)] == [True, False]
    sum_up_network_day(warehouse, DAY, DUE)
    assert [found.is_due for found in network_days(warehouse)] == [False, False]
    store(warehouse, {EPOCHS[5]: plain_network(EPOCHS[5], 20)})
    assert [found.is_due for found in network_days(warehouse)] == [True, False]
    sum_up_network_day(warehouse, DAY, DUE)
    assert set(warehouse.read(NETWORK_DAYS)["epochs"]) == {4}
    assert [found.is_due for found in network_days(warehouse)] == [False, False]
    store_again(warehouse, EPOCHS[5])
    assert [found.is_due for found in network_days(warehouse)] == [True, False]


def test_a_complete_day_says_so(warehouse: Warehouse) -> None:
    networks = {epoch: plain_network(epoch, 20) for epoch in EPOCHS[:3]}
    store(warehouse, networks)
    sum_up_network_day(warehouse, DAY, range(EPOCHS[0], EPOCHS[0] + 3))
    assert warehouse.read(NETWORK_DAYS)["complete"].all()


def test_a_day_without_the_network_cannot_be_summed_up(warehouse: Warehouse) -> None:
    with pytest.raises(StorageError, match="nothing of the whole network is stored"):
        sum_up_network_day(warehouse, date(2030, 1, 1), DUE)


def test_epochs_are_dropped_when_their_network_is_summed_up_and_the_sums_stay(
    warehouse: Warehouse,
) -> None:
    store(warehouse, {epoch: plain_network(epoch, 20) for epoch in EPOCHS[:SPAN]})
    replace_day(warehouse, DAY, day_frame(DAY, SPAN), stored_days(warehouse)[0].stored_at)
    outcome = drop_epochs_before(warehouse, DAY + timedelta(days=1))
    assert outcome.kept == {
        DAY: f"0 of its {SPAN} stored epochs of the whole network are summed up"
    }
    sum_up_network_day(warehouse, DAY, DUE)
    before = warehouse.read(NETWORK_DAYS)
    pack_span(warehouse, range(FIRST, FIRST + SPAN))
    outcome = drop_epochs_before(warehouse, DAY + timedelta(days=1))
    assert [(dropped.first, dropped.last) for dropped in outcome.dropped] == [
        (FIRST, FIRST + SPAN - 1)
    ]
    assert warehouse.read_network_epoch(FIRST) is None
    assert [found.day for found in network_days(warehouse)] == [DAY + timedelta(days=1)]
    pd.testing.assert_frame_equal(warehouse.read(NETWORK_DAYS), before)
