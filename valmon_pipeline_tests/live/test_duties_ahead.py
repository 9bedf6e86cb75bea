"""Duties of the next epoch, and that they do not make it look stored."""

from __future__ import annotations

import pandas as pd

from valmon_pipeline.config.watch import Watch
from valmon_pipeline.storage.queries import stored_epochs
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epochs import compute
from valmon_pipeline_tests.live.conftest import ALL, OpenChain
from valmon_pipeline_tests.live.test_follower import follow


def test_duties_ahead_are_those_of_the_epoch(open_chain: OpenChain, tables: Warehouse) -> None:
    chain = open_chain(96)
    [report] = follow(chain, tables, [96])
    assert report.duties_ahead is not None
    assert report.duties_ahead.epoch == 13
    assert stored_epochs(tables) == []
    chain.go_to(160)
    frames = compute(chain.url, ALL, [13]).frames[13].tables
    ahead = tables.read("attestation_duties", epochs=[13])
    pd.testing.assert_frame_equal(ahead, frames["attestation_duties"], check_exact=True)
    sync = tables.read("sync_duties", epochs=[13])
    judged = frames["sync_duties"]
    assert sync["seats"].tolist() == judged["seats"].tolist()
    assert sync["validator_index"].tolist() == judged["validator_index"].tolist()
    assert sync["due"].tolist() == [0] * len(sync)
    # Before Fulu the next epoch's proposers are not certain yet.
    proposers = tables.read("proposer_duties")
    assert set(proposers["epoch"]) == {12}
    assert set(proposers["outcome"]) == {"scheduled"}
    expected = compute(chain.url, ALL, [12]).frames[12].tables["proposer_duties"]
    assert proposers["validator_index"].tolist() == expected["validator_index"].tolist()


def test_they_are_read_once_an_epoch(open_chain: OpenChain, tables: Warehouse) -> None:
    reports = follow(open_chain(96), tables, range(96, 106))
    ahead = [report.head_slot for report in reports if report.duties_ahead is not None]
    assert ahead == [96, 104]


def test_a_stored_epoch_keeps_its_rows(open_chain: OpenChain, tables: Warehouse) -> None:
    chain = open_chain(96)
    follow(chain, tables, [96])
    chain.go_to(160)
    judged = compute(chain.url, ALL, [13]).frames[13].tables
    tables.replace_epoch(13, judged)
    reports = follow(chain, tables, [97, 104], restart=True)
    assert all(report.duties_ahead is not None for report in reports)
    pd.testing.assert_frame_equal(
        tables.read("proposer_duties", epochs=[13]), judged["proposer_duties"], check_exact=True
    )
    assert stored_epochs(tables) == [13]


def test_nobody_to_watch_means_no_attestation_duties(
    open_chain: OpenChain, tables: Warehouse
) -> None:
    [report] = follow(open_chain(96), tables, [96], watch=Watch(network=True))
    assert report.duties_ahead is not None
    assert report.snapshot_rows == 0
    assert tables.read("attestation_duties").empty
    assert len(tables.read("proposer_duties", epochs=[12])) == 8
