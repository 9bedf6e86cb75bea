"""Two sources disagree: valmon decides by the chain's rules which is right, or stores neither."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from valmon_pipeline.assets.fact_batch import EpochReport
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.epoch.facts import Fact
from valmon_pipeline.storage.queries.node_deviations import node_deviations
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import FEW, NETWORK, client_opener
from valmon_pipeline_tests.assets.stored import fresh_warehouse, table_hashes

EPOCH = 10
OF_ANOTHER_CHAIN = 20
"""In this epoch a third of the validators is off and the chain leaks: nobody earns anything."""
REWARDS = re.compile(r"/eth/v1/beacon/rewards/attestations/\d+")


@pytest.fixture
def own_warehouse(database_url: str) -> Iterator[Warehouse]:
    with fresh_warehouse(database_url) as warehouse:
        yield warehouse


@pytest.fixture(scope="module")
def balancer(true_node: ReplayNode, true_node_url: str) -> Iterator[str]:
    """Sends the requests for attestation rewards, and only those, to another chain."""
    recording = true_node.recording
    path = f"/eth/v1/beacon/rewards/attestations/{OF_ANOTHER_CHAIN}"
    other = httpx.post(true_node_url + path, json=[], trust_env=False)
    assert other.status_code == httpx.codes.OK

    def other_chain(request: Request) -> Response | None:
        if REWARDS.fullmatch(request.url.path) is None:
            return None
        return Response(other.content, 200, media_type="application/json")

    with BackgroundReplayNode(ReplayNode(recording, faults=other_chain)) as node:
        yield node.url


def store(url: str, warehouse: Warehouse, watch: Watch) -> EpochReport:
    reports: list[EpochReport] = []
    materializer = EpochLoader(client_opener(url), warehouse, watch)
    outcome = materializer.run([EPOCH], on_stored=reports.append)
    assert outcome.failures == {}
    return reports[0]


def test_where_the_blocks_tell_the_rewards_the_node_is_named_and_the_rows_are_right(
    balancer: str, true_node_url: str, own_warehouse: Warehouse, database_url: str
) -> None:
    missing = {fact.fact for fact in store(balancer, own_warehouse, NETWORK).missing}
    assert Fact.ATTESTATION_REWARDS not in missing
    found = table_hashes(own_warehouse)
    (rewards,) = (
        one
        for one in node_deviations(own_warehouse.database)
        if one.fact == Fact.ATTESTATION_REWARDS.value
    )
    assert rewards.deviating > 100
    with fresh_warehouse(database_url) as warehouse:
        store(true_node_url, warehouse, NETWORK)
        expected = table_hashes(warehouse)
    differing = {table for table in expected if found[table] != expected[table]}
    # What the end of the epoch credits is of the epoch before, whose blocks were not read: here
    # the balances show that it is not the chain's, so that nobody's ledger is complete.
    assert differing == {"network_epochs", "balance_ledger", "epoch_summaries", "check_results"}
    assert Fact.PREVIOUS_ATTESTATION_REWARDS in missing
    residual = own_warehouse.read("balance_ledger", epochs=[EPOCH])["residual"]
    assert residual.notna().sum() == 1, "one is not active and earns nothing"
    checks = own_warehouse.read("check_results", epochs=[EPOCH])
    # They hold the node's own answers, which are another chain's, against the chain.
    failing = checks.loc[~checks["passed"], "check_name"]
    assert set(failing) == {
        "attestation_outcomes.flags_match_rewards",
        "attestation_rewards.every_eligible_validator_has_a_reward",
        "attestation_rewards.ideal_rewards_match_node",
    }


def test_where_nothing_else_tells_the_rewards_they_are_not_known(
    balancer: str, own_warehouse: Warehouse
) -> None:
    missing = {fact.fact: fact.reason for fact in store(balancer, own_warehouse, FEW).missing}
    assert "contradict" in str(missing[Fact.ATTESTATION_REWARDS])
    rows = own_warehouse.read("attestation_rewards", epochs=[EPOCH])
    assert len(rows)
    assert rows["total_reward"].isna().all()
    checks = own_warehouse.read("check_results", epochs=[EPOCH])
    assert checks[~checks["passed"]].to_dict("records") == []
