"""Any client with its default options gives every epoch from the moment it is followed."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from valmon_pipeline.config.watch import Watch
from valmon_pipeline.devnet.clients.catalogue import CLIENTS
from valmon_pipeline.epoch.epoch_frames import EpochFrames
from valmon_pipeline.frames import TABLES
from valmon_pipeline_tests.assets.stored import EPOCH_TABLES
from valmon_pipeline_tests.epoch.missing import contradictions
from valmon_pipeline_tests.reading.following import (
    EPOCHS,
    ON_A_LARGE_NETWORK,
    ON_A_SMALL_NETWORK,
    Followed,
    followed_after_an_outage,
    followed_live,
    without_limits,
)

pytestmark = pytest.mark.slow

WATCHES: Final = {"large network": ON_A_LARGE_NETWORK, "small network": ON_A_SMALL_NETWORK}
WITHOUT_ATTESTATION_REWARDS: Final = ("grandine", "nimbus")
"""Their rewards are computed from states, and so are floored; the recorded node rounds them."""
COMPARED: Final = [name for name in EPOCH_TABLES if TABLES[name].by_epoch]
ABOUT_THE_READING: Final = ["finalized", "node", "materialized_at"]
FROM_BLOCKS_AND_COMMITTEES: Final = frozenset({"blocks", "committees", "sync_committee"})
KEPT_BY_REPLAY: Final = ("prysm", "nimbus", "grandine")
"""Clients that put old states together again by default, slowly."""


@pytest.fixture(scope="module")
def truths(database_url: str) -> Iterator[dict[str, Followed]]:
    """What a node without limits gives, by the size of the network."""
    with (
        without_limits(database_url, ON_A_LARGE_NETWORK) as large,
        without_limits(database_url, ON_A_SMALL_NETWORK) as small,
    ):
        assert [*large.reports] == [*small.reports] == [*EPOCHS]
        yield {"large network": large, "small network": small}


def as_frames(followed: Followed, epoch: int) -> EpochFrames:
    tables = dict(followed.tables(epoch, COMPARED))
    tables["network_epochs"] = tables["network_epochs"].drop(columns=ABOUT_THE_READING)
    return cast(EpochFrames, SimpleNamespace(tables=tables))


def differences(truth: Followed, found: Followed) -> dict[int, list[str]]:
    """Values that are neither those of the truth nor NULL, by epoch; of epochs that the truth
    knows everything about."""
    problems = {
        epoch: [*contradictions(as_frames(truth, epoch), as_frames(found, epoch))]
        for epoch in found.reports
        if not truth.reports[epoch].missing
    }
    assert len(problems) >= len(EPOCHS) - 1
    return {epoch: said for epoch, said in problems.items() if said}


def lacking(followed: Followed, *, but_for: Any = ()) -> dict[int, list[str]]:
    """The facts that are not known, by epoch; the recording lacks the registry at slot 0."""
    found = {
        epoch: sorted({fact.fact.value for fact in report.missing} - set(but_for))
        for epoch, report in followed.reports.items()
        if epoch > 0
    }
    return {epoch: facts for epoch, facts in found.items() if facts}


def truth_for(truths: dict[str, Followed], client: str, network: str) -> Followed:
    if client in WITHOUT_ATTESTATION_REWARDS:
        network = "small network"
    return truths[network]


@pytest.mark.parametrize("network", WATCHES)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_default_node_that_is_followed_gives_every_fact_of_every_epoch(
    database_url: str, truths: dict[str, Followed], client: str, network: str
) -> None:
    with followed_live(database_url, client, WATCHES[network]) as followed:
        assert followed.failures == {}
        assert [*followed.reports] == [*EPOCHS]
        assert lacking(followed) == {}
        assert differences(truth_for(truths, client, network), followed) == {}
        # What was captured is not asked for again.
        assert max(report.requests for report in followed.reports.values()) <= 20


@pytest.mark.parametrize("client", CLIENTS)
def test_after_an_outage_a_default_node_gives_what_blocks_and_committees_contain(
    database_url: str, truths: dict[str, Followed], client: str
) -> None:
    watch = WATCHES["large network"]
    with followed_after_an_outage(database_url, client, watch) as followed:
        assert followed.failures == {}
        assert [*followed.reports] == [*EPOCHS]
        for epoch, report in followed.reports.items():
            missing = {fact.fact.value: fact.reason for fact in report.missing}
            assert not FROM_BLOCKS_AND_COMMITTEES & missing.keys(), (epoch, missing)
            assert all(missing.values())
        truth = truth_for(truths, client, "large network")
        assert differences(truth, followed) == {}
        for table in ("attestation_outcomes", "blocks", "sync_duties"):
            for epoch in EPOCHS:
                expected = truth.tables(epoch, [table])[table]
                assert len(followed.tables(epoch, [table])[table]) == len(expected)
        if client in KEPT_BY_REPLAY:
            assert lacking(followed) == {}


def test_a_watch_of_everybody_is_followed_as_well(
    database_url: str, truths: dict[str, Followed]
) -> None:
    with followed_live(database_url, "lodestar", Watch(network=True)) as followed:
        assert [*followed.reports] == [*EPOCHS]
        assert lacking(followed) == {}
        ledgers = {epoch: followed.tables(epoch, ["balance_ledger"]) for epoch in range(1, 9)}
        residuals = {
            epoch: frames["balance_ledger"]["residual"].ne(0).sum()
            for epoch, frames in ledgers.items()
        }
        assert residuals == dict.fromkeys(range(1, 9), 0)
