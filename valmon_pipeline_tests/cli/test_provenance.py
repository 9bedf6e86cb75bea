"""What is not known is a dash with a reason: ``status``, ``validator``, ``nodes``, ``doctor``."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.frames import conform, contract_of
from valmon_pipeline.storage.queries import incompleteness
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.cli.conftest import InProcess
from valmon_pipeline_tests.sample_frames import sample_frame

NODE = "http://node.example:5052"
PRUNED = "404: state pruned [finalized]"
VALIDATORS = 20


def sources(epoch: int, missing: dict[str, str], deviating: int | None = None) -> pd.DataFrame:
    facts = ["committees", "attestation_rewards", "sync_rewards", "registry_at_start"]
    compared = [512 if fact == "attestation_rewards" and deviating else None for fact in facts]
    return conform(
        "fact_sources",
        {
            "epoch": epoch,
            "fact": facts,
            "source": [None if fact in missing else f"get {fact}" for fact in facts],
            "node": [None if fact in missing else NODE for fact in facts],
            "reason": [missing.get(fact) for fact in facts],
            "compared": pd.array(compared, dtype="Int32"),
            "deviating": pd.array(
                [None if one is None else deviating for one in compared], "Int32"
            ),
            "largest_deviation": pd.array(
                [None if one is None else 2 for one in compared], "Int64"
            ),
        },
    )


def store(
    warehouse: Warehouse, epoch: int, missing: dict[str, str], deviating: int | None = None
) -> None:
    """An epoch; without committees it has no outcomes, without rewards no amounts."""
    outcomes = sample_frame("attestation_outcomes", epoch, VALIDATORS)
    rewards = sample_frame("attestation_rewards", epoch, VALIDATORS)
    if "committees" in missing:
        outcomes = outcomes.iloc[:0]
    if "attestation_rewards" in missing:
        for name in contract_of("attestation_rewards").columns:
            if name.endswith(("_reward", "_penalty")) or name.startswith("missed_"):
                rewards[name] = pd.array([None] * VALIDATORS, dtype="Int64")
    network = sample_frame("network_epochs", epoch).assign(
        missing_facts=np.array([len(missing)], dtype=np.int32), node=NODE
    )
    warehouse.replace_epoch(
        epoch,
        {
            "attestation_outcomes": outcomes,
            "attestation_rewards": rewards,
            "balance_ledger": sample_frame("balance_ledger", epoch, VALIDATORS),
            "network_epochs": network,
            "fact_sources": sources(epoch, missing, deviating),
        },
    )


@pytest.fixture
def environment(warehouse: Warehouse, valmon: InProcess, database_url: str) -> dict[str, str]:
    """The variables of an installation with three epochs, two of which lack facts."""
    store(warehouse, 7, {}, deviating=312)
    store(warehouse, 8, {"committees": PRUNED})
    store(warehouse, 9, {"attestation_rewards": PRUNED, "sync_rewards": PRUNED})
    variables = {"VALMON_DATABASE_URL": database_url, "VALMON_NETWORK": warehouse.schema}
    assert valmon("migrate", **variables).code == 0
    return variables


def test_status_counts_what_is_missing(
    valmon: InProcess, environment: dict[str, str], warehouse: Warehouse
) -> None:
    shown = valmon("status", **environment)
    assert "facts in 2 epochs (8 to 9); `valmon status --epoch 9` shows the newest" in shown.out
    assert f"committees: epoch 8; {PRUNED}" in shown.out
    found = valmon("status", "--json", **environment).json["incomplete"]
    expected = incompleteness(warehouse.database)
    assert (found["epochs"], found["oldest_epoch"]) == (expected.epochs, expected.oldest_epoch)
    assert [one["fact"] for one in found["facts"]] == [one.fact for one in expected.facts]


def test_status_shows_the_sources_of_an_epoch(
    valmon: InProcess, environment: dict[str, str]
) -> None:
    shown = valmon("status", "--epoch", "9", **environment)
    assert shown.code == 0, shown.err
    assert f"read from {NODE}, 2 of 4 facts are missing" in shown.out
    assert "not known" in shown.out
    assert "[finalized]" in shown.out.replace("\n", "")
    whole = valmon("status", "--epoch", "7", **environment)
    assert "complete" in whole.out
    assert "312/512, 2 gwei" in whole.out
    found = valmon("status", "--epoch", "9", "--json", **environment).json
    assert (found["stored"], found["missing_facts"], found["node"]) == (True, 2, NODE)
    by_fact = {one["fact"]: one for one in found["sources"]}
    assert by_fact["sync_rewards"]["source"] is None
    assert by_fact["sync_rewards"]["reason"] == PRUNED
    assert by_fact["committees"]["source"] == "get committees"


def test_status_of_an_epoch_that_is_not_stored(
    valmon: InProcess, environment: dict[str, str]
) -> None:
    assert "`valmon backfill 77` reads it" in valmon("status", "--epoch", "77", **environment).out
    found = valmon("status", "--epoch", "77", "--json", **environment).json
    assert (found["stored"], found["missing_facts"], found["sources"]) == (False, None, [])


def test_a_validator_has_dashes_and_the_reason(
    valmon: InProcess, environment: dict[str, str]
) -> None:
    shown = valmon("validator", "2", **environment)
    assert shown.code == 0, shown.err
    rows = {line.split()[0]: line for line in shown.out.splitlines() if line.strip()[:1].isdigit()}
    assert "not known" in rows["8"]
    assert "no duty" not in shown.out
    assert " 0 " not in rows["9"].replace("–", "")
    assert "–" in rows["9"]
    assert "not known in 2 of these epochs, the newest 9" in shown.out
    assert f"committees in 1 ({PRUNED})" in shown.out
    found = valmon("validator", "2", "--json", **environment).json
    assert {row["epoch"]: row["total_reward"] for row in found["epochs"]}[9] is None
    assert {(one["epoch"], one["fact"]) for one in found["missing"]} == {
        (8, "committees"),
        (9, "attestation_rewards"),
        (9, "sync_rewards"),
    }
    complete = valmon("validator", "2", "--epochs", "7..7", **environment)
    assert "not known" not in complete.out


def test_a_ledger_shows_which_component_is_not_known(
    valmon: InProcess, environment: dict[str, str]
) -> None:
    # Row 0 of the sample ledger lacks a component in every epoch.
    shown = valmon("validator", "0", "--ledger", "--epochs", "9..9", "--json", **environment)
    (row,) = shown.json["epochs"]
    assert row["sync"] is None
    assert row["residual"] is None
    assert {one["fact"] for one in shown.json["missing"]} == {"sync_rewards"}
    table = valmon("validator", "0", "--ledger", "--epochs", "9..9", **environment)
    assert "–" in table.out
    assert "sync_rewards in 1" in table.out


def test_a_node_that_deviates_is_named_once_per_fact(
    valmon: InProcess, environment: dict[str, str]
) -> None:
    sentence = (
        "its attestation rewards are off by up to 2 gwei: 312 of 512 numbers in epoch 7 differ "
        "from the specification"
    )
    examined = valmon(
        "doctor", **environment, VALMON_VALIDATORS="1", VALMON_BEACON_URL="http://[::1]:9"
    )
    assert examined.out.count(sentence) == 1
    asked = valmon(
        "nodes", **environment, VALMON_VALIDATORS="1", VALMON_BEACON_URL="http://[::1]:9"
    )
    assert asked.out.count(f"{NODE}: {sentence}") == 1
    as_json = valmon(
        "nodes", "--json", **environment, VALMON_VALIDATORS="1", VALMON_BEACON_URL="http://[::1]:9"
    )
    assert '"deviating": 312' in as_json.out
