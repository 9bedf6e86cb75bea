"""Maintenance sums up and packs what is over and final of the whole network."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from valmon_pipeline.automation.maintenance import maintain, summary
from valmon_pipeline.config import Settings
from valmon_pipeline.storage.stored_days import day_of_epoch
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.conftest import DEVNET
from valmon_pipeline_tests.network_epochs import assert_same_network, plain_network
from valmon_pipeline_tests.sample_frames import sample_frame

SPAN = DEVNET.partition_epochs
FIRST_DAY = day_of_epoch(DEVNET, 0)
NEXT_DAY = next(epoch for epoch in range(10**4) if day_of_epoch(DEVNET, epoch) > FIRST_DAY)


def test_what_is_over_and_final_is_summed_up_and_packed_once(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    networks = {epoch: plain_network(epoch, 50) for epoch in (3, 4, SPAN + 1, NEXT_DAY)}
    for epoch, network in networks.items():
        frame = sample_frame("network_epochs", epoch).assign(finalized=epoch != SPAN + 1)
        warehouse.replace_epoch(epoch, {"network_epochs": frame}, network=network)
    settings = Settings(network=warehouse.schema, retention_days=None)
    now = datetime.now(UTC)
    report = maintain(settings, warehouse, instance, now)
    # A day with an epoch that is not final has no sums yet.
    assert report.network_days == ()
    assert [(span.first, span.epochs) for span in report.packed] == [(0, 2)]
    frame = sample_frame("network_epochs", SPAN + 1).assign(finalized=True)
    warehouse.replace_epoch(SPAN + 1, {"network_epochs": frame})
    report = maintain(settings, warehouse, instance, now)
    assert report.network_days == (FIRST_DAY,)
    assert [(span.first, span.epochs) for span in report.packed] == [(SPAN, 1)]
    assert summary(report)["network"] == (
        f"summed up {FIRST_DAY}; packed epochs {SPAN} to {2 * SPAN - 1}"
    )
    report = maintain(settings, warehouse, instance, now)
    assert summary(report)["network"] == "summed up no days; packed epochs of no days"
    assert set(warehouse.read("network_validator_days")["epochs"]) == {3}
    for epoch, network in networks.items():
        assert_same_network(warehouse.read_network_epoch(epoch), network)
