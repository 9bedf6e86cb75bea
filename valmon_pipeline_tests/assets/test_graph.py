"""The graph itself: its steps, its lineage, and a run of it without PostgreSQL."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from valmon_pipeline.assets.asset_graph import (
    EPOCH_TABLES,
    FACT_TABLES,
    LINEAGE,
    SCORE_TABLES,
    asset_key,
)
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.assets.steps import FRAMES, step_assets
from valmon_pipeline.config import WatchList, load_settings
from valmon_pipeline.definitions import build_definitions
from valmon_pipeline.epoch.score_frames import compute_score_frames
from valmon_pipeline.frames import TABLES
from valmon_pipeline.partitions import range_tags, register_epochs
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline.storage.io_manager import StepIOManager
from valmon_pipeline.storage.standings_due import STANDINGS
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import FEW, client_opener
from valmon_pipeline_tests.assets.memory_store import MemoryStore
from valmon_pipeline_tests.assets.stored import fresh_warehouse

NETWORK = "memory"
EPOCHS = range(9, 13)


def no_database() -> None:
    raise AssertionError("the database is not needed")


def pipeline_at(url: str) -> Pipeline:
    return Pipeline(
        network=NETWORK,
        open_client=client_opener(url),
        open_warehouse=no_database,  # type: ignore[arg-type]
        watch=FEW,
        watch_list=WatchList.of((), everyone=False),
    )


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        register_epochs(instance, NETWORK, EPOCHS)
        yield instance


Assets = list[dg.AssetsDefinition | dg.AssetSpec]


@pytest.fixture
def assets() -> Assets:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        labels = dg.AssetSpec(asset_key(NETWORK, "validator_labels")).with_io_manager_key(FRAMES)
        return [*step_assets(NETWORK, 225), labels]


def graph_of(assets: Assets) -> Any:
    resources = {"pipeline": pipeline_at(""), FRAMES: StepIOManager(MemoryStore())}
    return dg.Definitions(assets=assets, resources=resources).resolve_asset_graph()


def materialize(
    instance: dg.DagsterInstance,
    assets: Assets,
    store: MemoryStore,
    url: str,
    selection: Sequence[dg.AssetKey] | None = None,
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        assets,
        instance=instance,
        selection=selection,
        tags=dict(range_tags(EPOCHS)),
        resources={"pipeline": pipeline_at(url), FRAMES: StepIOManager(store)},
    )


def test_the_graph_materializes_without_postgresql(
    instance: dg.DagsterInstance,
    assets: Assets,
    true_node_url: str,
    database_url: str,
) -> None:
    store = MemoryStore()
    assert materialize(instance, assets, store, true_node_url).success
    assert [len(step.epochs) for step in store.steps] == [4, 4, 4]
    with fresh_warehouse(database_url) as warehouse:
        loader = EpochLoader(client_opener(true_node_url), warehouse, FEW)
        assert loader.run(EPOCHS).failures == {}
        for table in (*FACT_TABLES, *SCORE_TABLES):
            columns = [name for name in TABLES[table].columns if name != "materialized_at"]
            pd.testing.assert_frame_equal(
                store.read(table, columns=columns),
                warehouse.read(table, columns=columns),
                obj=table,
            )
    assert set(store.read(STANDINGS)["epoch"]) == set(EPOCHS)


def test_a_later_run_makes_the_same_scores_from_what_is_stored(
    instance: dg.DagsterInstance, assets: Assets, true_node_url: str
) -> None:
    store = MemoryStore()
    materialize(instance, assets, store, true_node_url)
    before = {table: store.read(table) for table in SCORE_TABLES}
    scores = [asset_key(NETWORK, table) for table in SCORE_TABLES]
    result = materialize(instance, assets, store, "http://127.0.0.1:9", scores)
    assert result.success
    for table, frame in before.items():
        pd.testing.assert_frame_equal(store.read(table), frame)


@pytest.mark.parametrize("table", EPOCH_TABLES)
def test_the_arrows_are_what_the_functions_take(assets: Assets, table: str) -> None:
    graph = graph_of(assets)
    parents = {key.path[-1] for key in graph.get(asset_key(NETWORK, table)).parent_keys}
    assert parents == set(LINEAGE[table])


def test_rewards_are_not_made_from_outcomes() -> None:
    assert LINEAGE["attestation_rewards"] == ()
    assert LINEAGE["attestation_outcomes"] == ("attestation_rewards",)
    assert "effectiveness_scores" in LINEAGE["epoch_summaries"]
    assert "facts" in inspect.signature(compute_score_frames).parameters


def test_staleness_follows_formulas_and_facts(instance: dg.DagsterInstance, assets: Assets) -> None:
    graph = graph_of(assets)
    versions = {table: graph.get(asset_key(NETWORK, table)).code_version for table in EPOCH_TABLES}
    assert {table for table, version in versions.items() if version is None} == set(FACT_TABLES)


def test_every_asset_is_presented() -> None:
    settings = load_settings(
        environ={"VALMON_HOME": "/nonexistent", "VALMON_BEACON_URL": "http://127.0.0.1:1"}
    )
    definitions = build_definitions(settings, pipeline_of(settings, lambda: ""))
    graph = definitions.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node, table = graph.get(key), key.path[-1]
        assert node.description, table
        assert node.owners == ["team:valmon"], table
        if table not in TABLES:
            continue
        assert node.kinds == {"postgres"}
        columns = node.metadata["dagster/column_schema"].columns
        assert [column.name for column in columns] == list(TABLES[table].columns)
        assert (node.freshness_policy is not None) == (table in EPOCH_TABLES)
        if node.is_materializable:
            assert "dagster/code_references" in node.metadata
