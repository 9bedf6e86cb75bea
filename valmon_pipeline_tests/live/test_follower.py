"""Following the recorded chain live, with its missed slots and its three reorganisations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from valmon_pipeline.assets import live
from valmon_pipeline.assets.live import LiveFollower, LiveReport
from valmon_pipeline.beacon.breaker_file import BreakerFile
from valmon_pipeline.beacon.client import NodeOptions
from valmon_pipeline.beacon.node_pool import NodePool
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.errors import (
    BeaconUnreachableError,
    ChainChangedError,
    NodeNotReadyError,
    StorageError,
)
from valmon_pipeline.reading import live_reader
from valmon_pipeline.reading.live_reader import MAX_SLOTS_PER_LOOK
from valmon_pipeline.storage.chain_head import read_chain_head
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epochs import FEW
from valmon_pipeline_tests.live.conftest import ALL, SLOT_SECONDS, Chain, OpenChain

FIRST, LAST = 276, 302
ORPHANED = (282, 290, 298)
TIMES = ["seen_at"]


def follow(
    chain: Chain,
    tables: Warehouse,
    slots: Sequence[int],
    *,
    restart: bool = False,
    watch: Watch = ALL,
    interval: int = 1,
) -> list[LiveReport]:
    """Look once in each of ``slots``, with a new follower each time if ``restart``."""
    follower = chain.follower(tables, watch, interval)
    reports = []
    for slot in slots:
        chain.go_to(slot)
        if restart:
            follower = chain.follower(tables, watch, interval)
        reports.append(follower.look())
    return reports


def stored(tables: Warehouse) -> dict[str, pd.DataFrame]:
    """Everything a follower stores, without the times."""
    return {
        table: tables.read(table).drop(columns=[*TIMES, "node"], errors="ignore")
        for table in ("chain_head", "live_slots", "live_events", "validator_snapshots")
    }


def same(found: dict[str, pd.DataFrame], expected: dict[str, pd.DataFrame]) -> None:
    for table, frame in expected.items():
        pd.testing.assert_frame_equal(found[table], frame, check_exact=True)


def slot_status(tables: Warehouse) -> dict[int, tuple[str, bytes | None]]:
    rows = tables.read("live_slots")
    return {int(row["slot"]): (row["status"], row["block_root"]) for row in rows.to_dict("records")}


def expected_status(
    recording: Recording, slots: range, orphans_seen: bool
) -> dict[int, tuple[str, bytes | None]]:
    orphans = {orphan.slot: orphan.root for orphan in recording.orphans.values()}
    expected: dict[int, tuple[str, bytes | None]] = {}
    for slot in slots:
        block = recording.blocks.get(slot)
        if block is not None:
            expected[slot] = ("proposed", bytes.fromhex(block.root[2:]))
        elif orphans_seen and slot in orphans:
            expected[slot] = ("orphaned", bytes.fromhex(orphans[slot][2:]))
        else:
            expected[slot] = ("missed", None)
    return expected


def test_every_slot_is_what_became_of_it(
    open_chain: OpenChain, tables: Warehouse, recording: Recording
) -> None:
    follow(open_chain(FIRST), tables, range(FIRST, LAST))
    assert slot_status(tables) == expected_status(recording, range(FIRST, LAST), True)
    events = tables.read("live_events")
    reorgs = events[events["event_type"] == "reorg"]
    assert reorgs["slot"].tolist() == [slot + 1 for slot in ORPHANED]
    for slot, detail in zip(ORPHANED, reorgs["detail"], strict=True):
        assert f"1 block left behind (slot {slot})" in detail
    missed = events[events["event_type"] == "proposal_missed"]
    assert missed["slot"].tolist() == [278, 280, *ORPHANED, 300]
    head = tables.read("chain_head").iloc[0]
    assert head["head_slot"] == LAST - 1
    assert head["head_root"].hex() == recording.blocks[LAST - 1].root[2:]
    assert head["finalized_epoch"] < head["justified_epoch"] < head["head_epoch"]


def test_snapshots_show_the_state_of_their_slot(
    open_chain: OpenChain, tables: Warehouse, recording: Recording
) -> None:
    follow(open_chain(FIRST), tables, range(FIRST, LAST))
    found = tables.read("validator_snapshots")
    # Also of the slots whose block was left behind: their snapshots were taken again.
    slots = [slot for slot in range(FIRST, LAST) if slot in recording.blocks or slot in ORPHANED]
    assert found["slot"].unique().tolist() == slots
    for slot in [FIRST + 1, 282, 283, 290, LAST - 1]:
        path = f"/eth/v1/beacon/states/{slot}/validator_balances"
        truth = recording.best("GET", path)
        assert truth is not None
        balances = {
            int(row["index"]): int(row["balance"]) for row in json.loads(truth.content)["data"]
        }
        rows = found[found["slot"] == slot]
        assert dict(zip(rows["validator_index"], rows["balance"], strict=True)) == balances


def test_a_process_that_starts_anew_at_every_slot_stores_the_same(
    open_chain: OpenChain, database_pair: tuple[Warehouse, Warehouse]
) -> None:
    one, many = database_pair
    follow(open_chain(FIRST), one, range(FIRST, 286))
    follow(open_chain(FIRST), many, range(FIRST, 286), restart=True)
    same(stored(many), stored(one))


def test_a_late_look_handles_the_slots_it_missed(
    open_chain: OpenChain, tables: Warehouse, recording: Recording
) -> None:
    reports = follow(open_chain(180), tables, [180, 196, 197, 201, 217])
    head = reports[-1].head_slot
    assert head == max(slot for slot in recording.blocks if slot <= 217)
    assert sum(report.slots for report in reports) == head - 180 + 1
    assert slot_status(tables) == expected_status(recording, range(180, head + 1), False)


def test_a_long_pause_leaves_the_rest_to_the_epochs(
    open_chain: OpenChain, tables: Warehouse, recording: Recording
) -> None:
    _, late = follow(open_chain(20), tables, [20, 301])
    assert late.slots == MAX_SLOTS_PER_LOOK
    expected = expected_status(recording, range(301 - MAX_SLOTS_PER_LOOK + 1, 302), False)
    assert slot_status(tables) == expected_status(recording, range(20, 21), False) | expected


def test_a_slow_node_costs_older_slots_but_never_the_head(
    open_chain: OpenChain,
    tables: Warehouse,
    recording: Recording,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_reader, "READ_SECONDS", 0.0)  # as if the first answers took all of it
    reports = follow(open_chain(180), tables, [180, 217, 219, 291])
    assert [report.head_slot for report in reports][1:] == [217, 219, 291]
    known = slot_status(tables)
    assert [*known] == [180, *range(213, 220), *range(287, 292)]
    assert {slot: known[slot] for slot in range(213, 220)} == expected_status(
        recording, range(213, 220), True
    )
    assert "reorg" not in set(tables.read("live_events")["event_type"])


def test_nothing_new_only_moves_the_time_of_the_look(
    open_chain: OpenChain, tables: Warehouse
) -> None:
    chain = open_chain(276)
    follow(chain, tables, [276, 277])
    before = stored(tables)
    [report] = follow(chain, tables, [278])  # missed
    same(stored(tables), before)
    assert (report.slots, report.snapshot_rows, report.slots_behind) == (0, 0, 1)
    assert tables.read("chain_head")["seen_at"][0].timestamp() == chain.seconds


@pytest.mark.parametrize("skew", [-2.0, 2.0])
def test_a_clock_that_is_wrong_changes_no_slot(
    open_chain: OpenChain, tables: Warehouse, recording: Recording, skew: float
) -> None:
    chain = open_chain(FIRST)
    chain.skew = skew
    follow(chain, tables, range(FIRST, 284))
    assert slot_status(tables) == expected_status(recording, range(FIRST, 284), True)


def test_the_status_tells_how_far_the_head_is_behind(
    open_chain: OpenChain, tables: Warehouse
) -> None:
    chain = open_chain(276)
    assert read_chain_head(tables, datetime.fromtimestamp(chain.seconds, UTC)) is None
    follow(chain, tables, [277])
    chain.go_to(300, 1.0)
    head = read_chain_head(tables, datetime.fromtimestamp(chain.seconds, UTC))
    assert head is not None
    assert (head.slot, head.epoch, head.slots_behind) == (277, 34, 23)
    assert head.seconds_since_seen == 23 * 2 + 0.5
    assert head.node == chain.url


def test_late_is_a_block_that_was_not_there_at_half_the_slot(
    open_chain: OpenChain, tables: Warehouse
) -> None:
    late_until = {"277": 1e18}

    def withhold(request: Request) -> Response | None:
        """The head stays at 276 until the block of 277 arrives."""
        for name, until in late_until.items():
            if request.url.path == "/eth/v1/beacon/headers/head" and chain.seconds < until:
                return _redirected(request, chain, str(int(name) - 1))
        return None

    chain = open_chain(276, withhold)
    follower = chain.follower(tables)
    chain.go_to(276, 0.9)
    follower.look()
    late_until["277"] = chain.seconds + 2.4
    chain.go_to(277, 1.1)
    assert follower.look().head_slot == 276
    chain.go_to(277, 1.5)
    report = follower.look()
    assert report.head_slot == 277
    assert [event.event_type for event in report.events] == ["proposal_late"]
    chain.go_to(279, 0.2)
    follower.look()
    chain.go_to(281, 1.9)  # nobody looked when half the slot had passed
    follower.look()
    rows = tables.read("live_slots")
    assert dict(zip(rows["slot"], rows["late"], strict=True)) == {
        276: False, 277: True, 278: pd.NA, 279: False, 280: pd.NA, 281: pd.NA,
    }  # fmt: skip


def test_status_changes_exits_and_slashings_are_noticed(
    open_chain: OpenChain, tables: Warehouse
) -> None:
    follow(open_chain(8), tables, range(8, 352, 16), watch=FEW, interval=8)
    snapshots = tables.read("validator_snapshots")
    by_slot = snapshots.pivot(index="slot", columns="validator_index", values="status")
    changes = {
        (int(index), int(slot))
        for index in by_slot.columns
        for slot, before, after in zip(
            by_slot.index[1:], by_slot[index].iloc[:-1], by_slot[index].iloc[1:], strict=True
        )
        if before != after and not pd.isna(before)
    }
    events = tables.read("live_events")
    kinds = ("status_changed", "exit_initiated", "slashed")
    noticed = events[events["event_type"].isin(kinds)]
    assert set(zip(noticed["validator_index"], noticed["slot"], strict=True)) == changes
    assert {"exit_initiated", "slashed", "status_changed"} == set(noticed["event_type"])


def test_only_watched_validators_have_events(open_chain: OpenChain, tables: Warehouse) -> None:
    pubkey = "0x" + "00" * 48
    watch = Watch(indices=frozenset({3}), pubkeys=frozenset({pubkey}))
    follow(open_chain(FIRST), tables, range(FIRST, 284), watch=watch)
    events = tables.read("live_events")
    assert set(events["validator_index"].dropna()) <= {3}
    assert set(tables.read("validator_snapshots")["validator_index"]) == {3}


def test_a_chain_that_changes_while_it_is_read_is_not_stored(
    open_chain: OpenChain, tables: Warehouse
) -> None:
    heads: list[str] = []

    def reorganize(request: Request) -> Response | None:
        """After the head, slot 277 has no block any more."""
        if request.url.path.endswith("/headers/head"):
            heads.append(request.url.path)
        gone = request.url.path.endswith("/headers/277") and len(heads) == 2
        return JSONResponse({"code": 404, "message": "not found"}, 404) if gone else None

    chain = open_chain(276, reorganize)
    follow(chain, tables, [276])
    before = stored(tables)
    with pytest.raises(ChainChangedError, match="head of slot 277 was 0x"):
        follow(chain, tables, [277])
    same(stored(tables), before)
    [report] = follow(chain, tables, [277])
    assert report.head_slot == 277


@pytest.mark.parametrize(
    ("field", "reason"), [("is_syncing", "is syncing"), ("is_optimistic", "optimistic")]
)
def test_a_node_that_is_not_ready_is_refused_with_the_reason(
    open_chain: OpenChain, tables: Warehouse, field: str, reason: str
) -> None:
    def unready(request: Request) -> Response | None:
        if request.url.path != "/eth/v1/node/syncing":
            return None
        status: dict[str, Any] = {
            "head_slot": "276", "sync_distance": "9", "is_syncing": False, "is_optimistic": False,
            "el_offline": False,
        }  # fmt: skip
        return JSONResponse({"data": status | {field: True}})

    with pytest.raises(NodeNotReadyError, match=reason):
        follow(open_chain(276, unready), tables, [276])
    assert tables.read("chain_head").empty


def test_a_node_that_is_away_stores_nothing(open_chain: OpenChain, tables: Warehouse) -> None:
    with pytest.raises(BeaconUnreachableError):
        follow(open_chain(276, lambda request: Response(status_code=503)), tables, [276])
    assert tables.read("chain_head").empty


async def _silence() -> AsyncIterator[bytes]:
    await asyncio.sleep(60)
    yield b""


def test_a_node_that_is_well_but_too_slow_for_a_look_is_named_and_remembered(
    open_chain: OpenChain, tables: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(request: Request) -> Response | None:
        return StreamingResponse(_silence()) if "/headers/" in request.url.path else None

    monkeypatch.setattr(live, "LOOK_SECONDS", 4.0)
    chain, breakers = open_chain(180, faults=slow), BreakerFile()
    chain.go_to(180)
    nodes = NodePool(
        [NodeOptions(chain.url, timeout_seconds=60)], breakers=breakers, now=lambda: chain.seconds
    )
    follower = LiveFollower(nodes, lambda: tables, ALL, 1)
    with pytest.raises(BeaconUnreachableError, match=f"headers/head of {chain.url}: no answer"):
        follower.look()
    breaker = breakers.read()[chain.url]
    assert (breaker.failures, breaker.in_use) == (1, True)


def test_another_network_is_refused(open_chain: OpenChain, tables: Warehouse) -> None:
    follow(open_chain(276), tables, [276])
    before = stored(tables)
    with pytest.raises(StorageError, match="data of another network"):
        follow(open_chain(280), tables, [281])  # another genesis time
    same(stored(tables), before)


def _redirected(request: Request, chain: Chain, block_id: str) -> Response:
    """The header of another block than was asked for."""
    exchange = chain.node.recording.best("GET", f"/eth/v1/beacon/headers/{block_id}")
    assert exchange is not None
    return Response(exchange.content, media_type="application/json")


def test_a_look_is_due_once_the_slot_of_the_head_is_over(
    open_chain: OpenChain, tables: Warehouse
) -> None:
    chain = open_chain(FIRST)
    follower = chain.follower(tables)
    assert follower.waits_for_slot() is None
    follower.look()
    chain.go_to(FIRST, into_slot=SLOT_SECONDS - 0.01)
    assert follower.waits_for_slot() == FIRST + 1
    follower.watch(Watch(indices=frozenset({3})))
    assert follower.waits_for_slot() is None
    follower.look()
    chain.go_to(FIRST + 1, into_slot=0.01)
    assert follower.waits_for_slot() is None


def test_a_head_that_is_behind_the_clock_is_looked_at(
    open_chain: OpenChain, tables: Warehouse
) -> None:
    chain = open_chain(FIRST)
    chain.skew = SLOT_SECONDS
    follower = chain.follower(tables)
    follower.look()
    assert follower.waits_for_slot() is None
