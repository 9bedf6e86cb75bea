"""A released client whose rewards are nonsense and whose states are gone still yields epochs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from valmon_pipeline.assets.fact_batch import EpochReport
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import FEW, client_opener
from valmon_pipeline_tests.assets.stored import fresh_warehouse, stored_epochs
from valmon_pipeline_tests.recordings import UNPATCHED

CLOSED: Final = (16, 17)
"""The epochs whose windows the recording closes; before its first block, nothing is known."""


@pytest.fixture(scope="module")
def reports_and_rows(database_url: str) -> Iterator[tuple[dict[int, EpochReport], Warehouse]]:
    reports: dict[int, EpochReport] = {}
    node = ReplayNode(Recording.load(UNPATCHED))
    with fresh_warehouse(database_url) as warehouse, BackgroundReplayNode(node) as served:
        outcome = EpochLoader(client_opener(served.url), warehouse, FEW).run(
            range(15, 19), on_stored=lambda report: reports.update({report.epoch: report})
        )
        assert "slots 120…127" in outcome.failures[15]
        assert "not final yet" in outcome.failures[18]
        yield reports, warehouse


def test_every_epoch_whose_window_is_recorded_is_stored(
    reports_and_rows: tuple[dict[int, EpochReport], Warehouse],
) -> None:
    reports, warehouse = reports_and_rows
    assert tuple(reports) == CLOSED
    assert stored_epochs(warehouse) == [*CLOSED]
    blocks = warehouse.read("blocks", epochs=[*CLOSED])
    assert set(blocks["status"]) == {"proposed", "missed"}
    outcomes = warehouse.read("attestation_outcomes", epochs=[16])
    assert outcomes["included"].any()


def test_fractions_and_balances_are_refused_as_rewards(
    reports_and_rows: tuple[dict[int, EpochReport], Warehouse],
) -> None:
    reports, warehouse = reports_and_rows
    for epoch, report in reports.items():
        reasons = {source.fact.value: str(source.reason) for source in report.missing}
        assert {"attestation_rewards", "block_rewards", "sync_rewards"} <= reasons.keys()
        assert "data" in reasons["attestation_rewards"]
        assert warehouse.read("sync_rewards", epochs=[epoch])["reward"].isna().all()
        checks = warehouse.read("check_results", epochs=[epoch])
        assert checks["passed"].all()
    rewards = warehouse.read("attestation_rewards", epochs=[*CLOSED])
    assert rewards["total_reward"].isna().all()
