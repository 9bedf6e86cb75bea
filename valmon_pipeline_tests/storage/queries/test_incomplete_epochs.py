"""Which facts stored epochs lack, why, and where nodes deviate from the specification."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from valmon_pipeline.epoch.facts import Fact
from valmon_pipeline.frames import conform
from valmon_pipeline.frames.fact_sources import FACTS
from valmon_pipeline.storage.queries import (
    epoch_sources,
    incomplete_epochs,
    incompleteness,
    lacks_of,
    missing_facts,
    node_deviations,
)
from valmon_pipeline.storage.queries.incomplete_epochs import IncompleteEpoch, count_missing
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.sample_frames import sample_frame

PRUNED, REFUSED = "the state was pruned", "404: no such route"


def sources(epoch: int, missing: dict[str, str], **others: Any) -> pd.DataFrame:
    """Frame ``fact_sources``: everything is known but ``missing``, by fact with its reason."""
    facts = [fact for fact in FACTS if fact != "blocks"]
    columns: dict[str, Any] = {
        "epoch": [epoch] * len(facts),
        "fact": facts,
        "source": [None if fact in missing else "request" for fact in facts],
        "node": [None if fact in missing else "http://node" for fact in facts],
        "reason": [missing.get(fact) for fact in facts],
    }
    deviating = {"compared": None, "deviating": None, "largest_deviation": None} | others
    frame = conform("fact_sources", {**columns, **dict.fromkeys(deviating, None)})
    rewards = frame["fact"] == "attestation_rewards"
    for name, value in deviating.items():
        if value is not None:
            frame.loc[rewards, name] = value
    return frame


def store(warehouse: Warehouse, epoch: int, missing: dict[str, str], **others: Any) -> None:
    network_epochs = sample_frame("network_epochs", epoch).assign(
        missing_facts=pd.Series([len(missing)], dtype="int32"), node="http://node"
    )
    warehouse.replace_epoch(
        epoch,
        {"network_epochs": network_epochs, "fact_sources": sources(epoch, missing, **others)},
    )


@pytest.fixture
def filled(warehouse: Warehouse) -> Warehouse:
    """Epochs 8 to 13, of which three lack facts; 8 was stored before there were sources."""
    before = sample_frame("network_epochs", 8)
    warehouse.replace_epoch(
        8, {"network_epochs": before.assign(missing_facts=pd.Series([0], dtype="int32"))}
    )
    store(warehouse, 9, {})
    store(warehouse, 10, {"committees": PRUNED, "sync_rewards": REFUSED})
    store(warehouse, 11, {"committees": PRUNED})
    store(warehouse, 12, {}, compared=512, deviating=312, largest_deviation=2)
    store(warehouse, 13, {"committees": REFUSED}, compared=100, deviating=3, largest_deviation=1)
    return warehouse


def test_the_names_of_facts_are_those_that_are_stored() -> None:
    assert {fact.value for fact in Fact} == set(FACTS)


def test_incomplete_epochs_come_newest_first_with_what_they_lack(filled: Warehouse) -> None:
    database = filled.database
    assert incomplete_epochs(database, 0, 100, 10) == [
        IncompleteEpoch(13, ("committees",), "http://node"),
        IncompleteEpoch(11, ("committees",), "http://node"),
        IncompleteEpoch(10, ("committees", "sync_rewards"), "http://node"),
    ]
    assert [one.epoch for one in incomplete_epochs(database, 0, 100, 2)] == [13, 11]
    assert [one.epoch for one in incomplete_epochs(database, 9, 11, 10)] == [11, 10]
    assert incomplete_epochs(database, 0, 9, 10) == []


def test_what_is_missing_is_summed_up_with_the_most_frequent_reason(filled: Warehouse) -> None:
    found = incompleteness(filled.database)
    assert (found.epochs, found.oldest_epoch, found.newest_epoch) == (3, 10, 13)
    assert found.facts_missing == 4
    committees, sync = found.facts
    assert (committees.fact, committees.epochs) == ("committees", 3)
    assert (committees.oldest_epoch, committees.newest_epoch) == (10, 13)
    assert (committees.reason, committees.epochs_with_reason) == (PRUNED, 2)
    assert (sync.fact, sync.epochs, sync.reason) == ("sync_rewards", 1, REFUSED)
    with filled.database.transaction("count") as connection:
        counted = count_missing(connection, filled.schema)
    assert counted == (3, {"committees": 3, "sync_rewards": 1})


def test_an_empty_store_lacks_nothing(warehouse: Warehouse) -> None:
    found = incompleteness(warehouse.database)
    assert (found.epochs, found.oldest_epoch, found.facts) == (0, None, ())
    assert incomplete_epochs(warehouse.database, 0, 100, 10) == []
    assert node_deviations(warehouse.database) == []
    assert missing_facts(warehouse.database, []) == {}


def test_the_facts_that_chosen_epochs_lack(filled: Warehouse) -> None:
    assert missing_facts(filled.database, [8, 9, 10, 13]) == {
        10: frozenset({"committees", "sync_rewards"}),
        13: frozenset({"committees"}),
    }
    lacks = lacks_of(filled.database, [10, 13])
    assert [(lack.epoch, lack.fact, lack.reason) for lack in lacks] == [
        (10, "committees", PRUNED),
        (10, "sync_rewards", REFUSED),
        (13, "committees", REFUSED),
    ]


def test_an_epoch_that_is_completed_lacks_nothing_any_more(filled: Warehouse) -> None:
    store(filled, 10, {})
    assert [one.epoch for one in incomplete_epochs(filled.database, 0, 100, 10)] == [13, 11]
    assert missing_facts(filled.database, [10]) == {}


def test_the_sources_of_an_epoch(filled: Warehouse) -> None:
    by_fact = {source.fact: source for source in epoch_sources(filled.database, 12)}
    assert set(by_fact) == set(FACTS) - {"blocks"}
    rewards = by_fact["attestation_rewards"]
    assert (rewards.compared, rewards.deviating, rewards.largest_deviation) == (512, 312, 2)
    assert by_fact["committees"].source == "request"
    assert by_fact["committees"].compared is None
    assert epoch_sources(filled.database, 8) == []


def test_a_nodes_deviations_are_one_row_per_fact(filled: Warehouse) -> None:
    (deviation,) = node_deviations(filled.database)
    assert (deviation.node, deviation.fact) == ("http://node", "attestation_rewards")
    assert (deviation.epochs, deviation.first_epoch, deviation.last_epoch) == (2, 12, 13)
    assert (deviation.deviating, deviation.compared, deviation.largest_gwei) == (315, 612, 2)
