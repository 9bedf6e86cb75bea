"""A watch list on a network whose registry is not read: the state tells what everybody did."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import httpx
import numpy as np
import pandas as pd
import pytest
from starlette.requests import Request
from starlette.responses import Response

from valmon_pipeline.beacon.state_ssz.layout import state_layout
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.devnet.simulator import simulated_node
from valmon_pipeline.devnet.simulator.state_ssz import encode_state
from valmon_pipeline.errors import ChainChangedError
from valmon_pipeline_tests.assets.epochs import Computed, compute
from valmon_pipeline_tests.devnet.simulator.busy_chain import busy_chain

STATES = "/eth/v2/debug/beacon/states/"
EPOCHS = [3, 8, 12, 29, 33]
"""Before and after Electra and Fulu, with slashings and a consolidation; 29 and 33 in the leak and
after it."""
FEW = Watch(indices=frozenset({0, 3, 10, 33, 45, 90, 100, 121}), registry_limit=0)
WITH_STATE = replace(FEW, network_state=True)
WATCHED_CHECK = "attestation_rewards.rewards_match_state"
READ_CHECK = "network_epochs.network_state_was_read"


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    with simulated_node(busy_chain()) as node:
        yield node.url


@pytest.fixture(scope="module")
def by_state(node: str) -> Computed:
    return compute(node, WITH_STATE, EPOCHS)


@pytest.fixture(scope="module")
def by_registry(node: str) -> Computed:
    """Everybody watched: rewards are those that the node reports for each validator."""
    return compute(node, Watch(network=True), EPOCHS)


def test_bands_are_those_of_everybodys_reported_rewards(
    by_state: Computed, by_registry: Computed
) -> None:
    for epoch in EPOCHS:
        pd.testing.assert_frame_equal(
            by_state.frames[epoch].tables["network_bands"],
            by_registry.frames[epoch].tables["network_bands"],
            check_exact=True,
        )


def test_the_network_is_the_one_of_the_whole_registry(
    by_state: Computed, by_registry: Computed
) -> None:
    for epoch in EPOCHS:
        found, known = (
            computed.frames[epoch].tables["network_epochs"] for computed in (by_state, by_registry)
        )
        assert found["total_active_balance"].notna().all()
        pd.testing.assert_frame_equal(
            found.drop(columns="node"), known.drop(columns="node"), check_exact=True
        )


def test_watched_validators_have_their_ranks_and_exact_ideal_rewards(
    by_state: Computed, by_registry: Computed
) -> None:
    ranked = 0
    for epoch in EPOCHS:
        for table, columns in (
            (
                "effectiveness_scores",
                ["network_percentile_rank", "band_percentile_rank", "effective_balance_band"],
            ),
            (
                "attestation_rewards",
                ["ideal_total", "attainable_total", "missed_source", "missed_head"],
            ),
        ):
            found, known = (
                computed.frames[epoch].tables[table][["validator_index", *columns]]
                for computed in (by_state, by_registry)
            )
            assert len(found) > 4
            known = known[known["validator_index"].isin(FEW.indices)]
            pd.testing.assert_frame_equal(found, known.reset_index(drop=True), check_exact=True)
            if table == "effectiveness_scores":
                ranked += int(found["network_percentile_rank"].notna().sum())
    assert ranked > 25


def test_the_state_and_the_node_say_the_same_of_every_watched_validator(
    by_state: Computed,
) -> None:
    assert by_state.failing_checks() == {}
    for frames in by_state.frames.values():
        compared = {f"{one.asset}.{one.name}": one.compared for one in frames.checks}
        assert compared[WATCHED_CHECK] == len(frames.tables["attestation_rewards"]) > 4
        assert compared[READ_CHECK] == 2


def test_everybody_watched_and_the_state_read_give_the_same(
    node: str, by_registry: Computed
) -> None:
    both = compute(node, Watch(network=True, network_state=True), EPOCHS[2:4])
    assert both.failing_checks() == {}
    for epoch, frames in both.frames.items():
        for table, known in by_registry.frames[epoch].tables.items():
            if table not in ("check_results", "fact_sources"):
                found = frames.tables[table]
                pd.testing.assert_frame_equal(found, known, check_exact=True, obj=table)


def test_without_it_a_state_is_not_asked_for(node: str) -> None:
    asked: list[str] = []

    def watching(request: Request) -> None:
        asked.append(request.url.path)

    with simulated_node(busy_chain(), faults=watching) as watched_node:
        computed = compute(watched_node.url, FEW, [8])
    assert asked
    assert not any(path.startswith(STATES) for path in asked)
    assert len(computed.frames[8].tables["network_bands"]) == 0
    assert computed.failing_checks() == {}


EPOCH = 12
SLOT = (EPOCH + 2) * 8 - 1


@cache
def true_state() -> bytes:
    simulation = busy_chain()
    return encode_state(simulation, simulation.record(SLOT), 1_700_000_000)


def with_state(answer: Callable[[], Response]) -> Computed:
    def faults(request: Request) -> Response | None:
        return answer() if request.url.path == f"{STATES}{SLOT}" else None

    with simulated_node(busy_chain(), faults=faults) as node:
        return compute(node.url, WITH_STATE, [EPOCH])


def with_change(change: Callable[[bytearray], None]) -> Computed:
    content = bytearray(true_state())
    change(content)
    return with_state(
        lambda: Response(
            bytes(content),
            headers={"eth-consensus-version": "fulu"},
            media_type="application/octet-stream",
        )
    )


def place(name: str) -> int:
    spec = ChainSpec.from_config(busy_chain().config)
    return state_layout(spec, Fork.FULU).places[name].at


def list_start(content: bytes | bytearray, name: str) -> int:
    start: int = struct.unpack_from("<I", content, place(name))[0]
    return start


@pytest.mark.parametrize("status", [404, 400, 405, 501])
def test_a_node_without_the_state_costs_what_only_the_state_tells(status: int) -> None:
    computed = with_state(lambda: Response('{"message":"no debug"}', status))
    tables = computed.frames[EPOCH].tables
    assert len(tables["network_bands"]) == 0
    assert tables["effectiveness_scores"]["network_percentile_rank"].isna().all()
    assert len(tables["attestation_rewards"]) > 4
    ((_, failing),) = computed.failing_checks()
    assert failing == READ_CHECK
    (result,) = computed.failing_checks().values()
    assert "debug/beacon/states" in result.detail
    assert "no debug" in result.detail


def test_a_flag_that_is_not_in_the_state_is_named_with_what_the_node_pays() -> None:
    def forget(content: bytearray) -> None:
        content[list_start(content, "previous_epoch_participation") + 3] = 0b001

    computed = with_change(forget)
    result = computed.failing_checks()[EPOCH, WATCHED_CHECK]
    examples = {row["validator_index"]: row for row in result.examples}
    target = {who: int(examples["3"][f"{who}_target_reward"]) for who in ("state", "node")}
    assert target["state"] < 0 < target["node"]


def test_a_validator_that_is_active_only_in_the_committees_is_refused() -> None:
    def leave(content: bytearray) -> None:
        row = list_start(content, "validators") + 121 * 45
        struct.pack_into("<Q", content, row + 121 - 16, 3)

    with pytest.raises(Exception, match="validator 45 has a duty in epoch 12, but is not active"):
        with_change(leave)


def test_finality_that_the_node_denies_is_a_failed_check() -> None:
    def not_justified(content: bytearray) -> None:
        struct.pack_into("<Q", content, place("current_justified_checkpoint"), 3)

    computed = with_change(not_justified)
    ((_, failing),) = computed.failing_checks()
    assert failing == READ_CHECK
    (result,) = computed.failing_checks().values()
    assert "what=finalized_epoch, state=" in result.detail


def test_a_state_of_another_chain_is_read_again_and_then_refused() -> None:
    def reorganized(content: bytearray) -> None:
        slot = 8 * EPOCH + 3
        at = place("block_roots") + 32 * (slot % 64)
        content[at : at + 32] = bytes(32)

    with pytest.raises(ChainChangedError, match=rf"states/{SLOT} .*root of slot 99 in the state"):
        with_change(reorganized)

    def without_last_block(content: bytearray) -> None:
        struct.pack_into("<Q", content, place("latest_block_header"), SLOT - 1)

    with pytest.raises(ChainChangedError, match=f"the state's last block is of slot {SLOT - 1}"):
        with_change(without_last_block)


def test_a_state_cut_off_costs_what_only_the_state_tells() -> None:
    computed = with_change(lambda content: content.__delitem__(slice(-50, None)))
    (result,) = computed.failing_checks().values()
    assert result.name == READ_CHECK.split(".")[1]
    assert f"states/{SLOT}" in result.detail


def test_the_simulated_state_is_what_the_node_serves(node: str) -> None:
    served = httpx.get(f"{node}{STATES}{SLOT}", headers={"accept": "application/octet-stream"})
    assert served.content == true_state()
    assert np.frombuffer(served.content, "<u8", 1, 40)[0] == SLOT
