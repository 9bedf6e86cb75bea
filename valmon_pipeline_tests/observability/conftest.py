"""Some epochs of the recorded devnet as a running installation stores them, and a node to ask."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Final

import pandas as pd
import pytest

from valmon_pipeline.alerting.templates import Templates
from valmon_pipeline.assets.alerts import Alerting, evaluate_due_epochs
from valmon_pipeline.assets.day_summaries import sum_up_day
from valmon_pipeline.assets.label_history import merge_labels, no_labels
from valmon_pipeline.assets.standings import make_due_standings
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.epoch.validators import validators_frame
from valmon_pipeline.frames import conform
from valmon_pipeline.notify.channels import Channel
from valmon_pipeline.notify.notifier import Notifier
from valmon_pipeline.scoring.standings import StandingRules
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epochs import NETWORK, compute
from valmon_pipeline_tests.assets.stored import fresh_warehouse
from valmon_pipeline_tests.observability.times import (
    EPOCHS,
    GENESIS,
    HEAD_SLOT,
    SLOT_MS,
    time_of,
)

DAY: Final = date(2026, 11, 20)


@pytest.fixture(scope="session")
def recording() -> Recording:
    return Recording.load(RECORDING_PATH)


@pytest.fixture(scope="session")
def recorded_node_url(recording: Recording) -> Iterator[str]:
    """A node whose chain stands still."""
    with BackgroundReplayNode(ReplayNode(recording)) as node:
        yield node.url


@pytest.fixture(scope="module")
def filled(database_url: str, recorded_node_url: str) -> Iterator[Warehouse]:
    """Everything about ``EPOCHS``: facts, standings, alerts, a day, labels, and the head."""
    with fresh_warehouse(database_url) as warehouse:
        computed = compute(recorded_node_url, NETWORK, EPOCHS, labels())
        spec = computed.spec
        warehouse.bind_network(
            NetworkIdentity(spec.config_name, GENESIS, bytes(32), spec.slots_per_epoch, SLOT_MS, 7)
        )
        warehouse.replace_table("validator_labels", labels())
        registry = computed.answers[EPOCHS[-1]].registry_at_end
        assert registry is not None
        warehouse.replace_table("validators", validators_frame(registry))
        for epoch in EPOCHS:
            warehouse.replace_epoch(epoch, computed.frames[epoch].tables)
        make_due_standings(warehouse, StandingRules())
        told = Notifier([Channel("gone", "")], Templates("devnet"))
        evaluate_due_epochs(warehouse, Alerting(on_stored=told), time_of(HEAD_SLOT))
        sum_up_day(warehouse, DAY)
        see_head(warehouse, time_of(HEAD_SLOT))
        yield warehouse


def labels() -> pd.DataFrame:
    """Two operators; every third validator has none."""
    rows = [(index, "operator", "ab"[index % 2]) for index in range(129) if index % 3]
    return merge_labels(no_labels(), rows, 0)


def see_head(warehouse: Warehouse, at: datetime) -> None:
    """Store the head as the slot sensor does, seen at a moment."""
    warehouse.replace_rows(
        {
            "chain_head": conform(
                "chain_head",
                {
                    "only_row": [True],
                    "head_slot": [HEAD_SLOT],
                    "head_root": [bytes(32)],
                    "head_epoch": [HEAD_SLOT // 8],
                    "justified_epoch": [HEAD_SLOT // 8 - 1],
                    "finalized_epoch": [HEAD_SLOT // 8 - 2],
                    "node": ["node"],
                    "is_optimistic": [False],
                    "seen_at": [pd.Timestamp(at.astimezone(UTC))],
                },
            )
        }
    )
