"""``whole_network: full``: every validator is stored as the state and the committees have it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from starlette.requests import Request
from starlette.responses import Response

from valmon_pipeline.assets.fact_batch import EpochReport
from valmon_pipeline.assets.loading import load_epochs
from valmon_pipeline.chain.network_epoch import NetworkEpoch
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.config import WatchList, load_settings
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.devnet.simulator import simulated_node
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import client_opener
from valmon_pipeline_tests.chain.states import simulated_state
from valmon_pipeline_tests.devnet.simulator.busy_chain import busy_chain

FULL = Watch(indices=frozenset({0, 45}), registry_limit=0, network_state=True, network_rows=True)
EPOCHS = [12, 29]
"""With a slashing behind it, and in the leak."""


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    with simulated_node(busy_chain()) as node:
        yield node.url


def materialize(
    url: str, warehouse: Warehouse, epochs: Sequence[int], watch: Watch = FULL
) -> list[EpochReport]:
    reports: list[EpochReport] = []
    outcome = EpochLoader(client_opener(url), warehouse, watch).run(epochs, reports.append)
    assert outcome.failures == {}
    return reports


def stored(warehouse: Warehouse, epoch: int) -> NetworkEpoch:
    found = warehouse.read_network_epoch(epoch)
    assert found is not None
    return found


def assert_same(found: NetworkEpoch, other: NetworkEpoch) -> None:
    for field in fields(NetworkEpoch):
        np.testing.assert_array_equal(
            getattr(found, field.name), getattr(other, field.name), err_msg=field.name
        )


def test_everybody_is_stored_as_the_chain_paid_them(node: str, database: Database) -> None:
    warehouse, simulation = Warehouse(database), busy_chain()
    materialize(node, warehouse, EPOCHS)
    spec = ChainSpec.from_config(simulation.config)
    for epoch in EPOCHS:
        found, paid = stored(warehouse, epoch), simulation.rewarded(epoch).deltas
        state = simulated_state(simulation, spec.last_slot(epoch + 1))
        assert len(found) == len(state) > 128
        assert found.source_reward.tolist() == paid.source.tolist()
        assert found.target_reward.tolist() == paid.target.tolist()
        assert found.head_reward.tolist() == paid.head.tolist()
        assert found.inactivity_penalty.tolist() == (-paid.inactivity).tolist()
        assert found.balance.tolist() == state.balances.tolist()
        assert found.flags.tolist() == state.previous_epoch_participation.tolist()
        assert (found.duty_slot_in_epoch >= 0).tolist() == found.active.tolist()
    leak = stored(warehouse, 29)
    assert (leak.inactivity_penalty > 0).sum() > 10
    assert np.isnan(leak.percentile_rank).all()


def test_storing_an_epoch_again_in_another_order_changes_nothing(
    node: str, database: Database
) -> None:
    warehouse = Warehouse(database)
    materialize(node, warehouse, EPOCHS)
    before = [stored(warehouse, epoch) for epoch in EPOCHS]
    materialize(node, warehouse, EPOCHS[::-1])
    assert warehouse.read("corrections").empty
    for epoch, known in zip(EPOCHS, before, strict=True):
        assert_same(stored(warehouse, epoch), known)


def test_the_watched_have_the_ranks_of_everybodys_rows(node: str, database: Database) -> None:
    warehouse = Warehouse(database)
    materialize(node, warehouse, [12])
    everybody = stored(warehouse, 12)
    scores = warehouse.read("effectiveness_scores", epochs=[12])
    assert scores["validator_index"].tolist() == [0, 45]
    np.testing.assert_array_equal(
        scores["network_percentile_rank"].to_numpy(np.float32), everybody.percentile_rank[[0, 45]]
    )
    bands = warehouse.read("network_bands", epochs=[12])
    assert bands["validators"].sum() == np.count_nonzero(everybody.eligible)
    assert bands["reward"].sum() == everybody.total_reward.sum()


def test_everybody_is_stored_with_nobody_on_the_watch_list(node: str, database: Database) -> None:
    warehouse = Warehouse(database)
    materialize(node, warehouse, [12], replace(FULL, indices=frozenset()))
    assert len(stored(warehouse, 12)) > 128
    assert len(warehouse.read("attestation_rewards", epochs=[12])) == 0
    assert len(warehouse.read("network_bands", epochs=[12])) > 0


def test_with_a_distribution_alone_nobody_else_is_stored(node: str, database: Database) -> None:
    warehouse = Warehouse(database)
    materialize(node, warehouse, [12], replace(FULL, network_rows=False))
    assert warehouse.read_network_epoch(12) is None
    assert len(warehouse.read("network_bands", epochs=[12])) > 0


def test_without_the_state_the_watched_are_stored_alone(database: Database) -> None:
    def refuse(request: Request) -> Response | None:
        return Response(status_code=404) if "/debug/" in request.url.path else None

    warehouse = Warehouse(database)
    with simulated_node(busy_chain(), faults=refuse) as node:
        (report,) = materialize(node.url, warehouse, [12])
    assert warehouse.read_network_epoch(12) is None
    assert len(warehouse.read("attestation_rewards", epochs=[12])) == 2
    assert [one.name for one in report.checks if one.failed] == ["network_state_was_read"]


def test_a_configuration_is_all_it_takes(
    node: str, database: Database, database_url: str, tmp_path: Path
) -> None:
    environ = {
        "VALMON_BEACON_URL": node,
        "VALMON_NETWORK": database.schema,
        "VALMON_VALIDATORS": "0,45",
        "VALMON_REGISTRY_FETCH_LIMIT": "0",
        "VALMON_HOME": str(tmp_path),
        "VALMON_WHOLE_NETWORK": "full",
        "VALMON_BEACON_STATE_LIMIT_MB": "1",
    }
    pipeline = pipeline_of(load_settings(environ=environ), lambda: database_url)
    assert load_epochs(pipeline.fact_reader(pipeline.warehouse), [12]).failures == {}
    assert len(stored(pipeline.warehouse, 12)) > 128
    pipeline.warehouse.database.close()


@pytest.mark.parametrize(
    ("setting", "state", "rows"),
    [("off", False, False), ("distribution", True, False), ("full", True, True)],
)
def test_the_setting_says_what_is_read_and_stored(setting: str, state: bool, rows: bool) -> None:
    watch = Watch.of(WatchList.of((), everyone=False), 20_000, whole_network=setting)
    assert (watch.network_state, watch.network_rows) == (state, rows)
    other = watch.of_list(WatchList.of((), everyone=True))
    assert (other.network_state, other.network_rows, other.network) == (state, rows, True)
