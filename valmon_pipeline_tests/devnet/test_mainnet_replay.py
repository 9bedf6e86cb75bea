"""A recording of mainnet's shape, made while everything was current: no answer after finality."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from valmon_pipeline.beacon.archive import read_exchanges
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.clock import ManualClock, StoppedClock
from valmon_pipeline.devnet.recorded_states import RecordedStates
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.recording_error import RecordingError
from valmon_pipeline.devnet.replay_node import ReplayNode
from valmon_pipeline_tests.devnet.questions import ask
from valmon_pipeline_tests.recordings import MAINNET, RECORDING

EMPTY_SLOTS = {20, 21, 31, 61, 62, 90, 95, 109, 114, 125, 137, 181, 195, 212, 214, 218, 220, 240}


@pytest.fixture(scope="module")
def mainnet() -> Recording:
    return Recording.load(MAINNET)


@pytest.fixture(scope="module")
def node(mainnet: Recording) -> ReplayNode:
    """A chain that stands still at its last slot."""
    return ReplayNode(mainnet)


def test_headers_asked_while_current_are_canonical_if_they_form_a_chain(
    mainnet: Recording,
) -> None:
    assert mainnet.slots == range(353)
    assert mainnet.epochs == range(1, 9)
    assert not mainnet.has_history
    assert set(range(241)) - mainnet.blocks.keys() == EMPTY_SLOTS


def test_a_header_of_another_chain_is_refused_with_its_slot() -> None:
    exchanges = [
        exchange
        for exchange in read_exchanges(MAINNET)
        if exchange.path != "/eth/v1/beacon/headers/100"
    ]
    with pytest.raises(RecordingError, match=r"fixture: .* block of slot 101 .* slot 99\. Record"):
        _ = Recording(exchanges, name="fixture").blocks


@pytest.mark.parametrize(
    ("path", "same_as"),
    [
        ("states/200/finality_checkpoints", "states/192/finality_checkpoints"),
        ("states/140/committees?epoch=4", "states/128/committees?epoch=4"),
        ("states/96/committees?epoch=4", "states/128/committees?epoch=4"),
        ("states/200/sync_committees", "states/32/sync_committees"),
        ("headers/0", "headers/genesis"),
    ],
)
def test_one_recorded_answer_serves_all_that_mean_the_same(
    node: ReplayNode, path: str, same_as: str
) -> None:
    first, second = (ask(node, "GET", f"/eth/v1/beacon/{one}") for one in (path, same_as))
    assert first.status == second.status == 200
    assert first.json["data"] == second.json["data"]


def test_finality_was_false_when_it_was_recorded_and_is_true_later(mainnet: Recording) -> None:
    clock = ManualClock()
    node = ReplayNode(mainnet, live=True, now=clock)
    seen = {}
    for slot in (130, 192, 224):
        clock.move_to(node.clock, slot)
        reply = ask(node, "GET", "/eth/v2/beacon/blocks/130")
        seen[slot] = (reply.json["finalized"], reply.headers["eth-consensus-finalized"])
    assert seen == {130: (False, "false"), 192: (False, "false"), 224: (True, "true")}


def test_blocks_are_found_by_slot_and_by_root(node: ReplayNode, mainnet: Recording) -> None:
    root = mainnet.blocks[130].root
    for path in (
        "/eth/v1/beacon/headers",
        "/eth/v2/beacon/blocks",
        "/eth/v1/beacon/rewards/blocks",
    ):
        by_slot, by_root = (ask(node, "GET", f"{path}/{block_id}") for block_id in (130, root))
        assert by_slot.status == 200
        assert by_slot.content == by_root.content
    path = "/eth/v1/beacon/rewards/sync_committee"
    some = ask(node, "POST", f"{path}/{root}", ["258"]).json["data"]
    assert some == [
        row
        for row in ask(node, "POST", f"{path}/130", []).json["data"]
        if row["validator_index"] == "258"
    ]


def test_validators_by_id_are_those_of_the_boundary(node: ReplayNode) -> None:
    path = "/eth/v1/beacon/states/128/validators"
    everyone = ask(node, "GET", path).json["data"]
    assert ask(node, "GET", f"{path}?id=3&id=7").json["data"] == [everyone[3], everyone[7]]
    keys = [everyone[3]["validator"]["pubkey"]]
    assert ask(node, "POST", path, {"ids": keys}).json["data"] == [everyone[3]]


def test_a_registry_inside_an_epoch_is_not_invented(mainnet: Recording) -> None:
    clock = ManualClock()
    node = ReplayNode(mainnet, live=True, now=clock, client="prysm")
    clock.move_to(node.clock, 170)
    inside = ask(node, "GET", "/eth/v1/beacon/states/165/validators")
    assert (inside.status, inside.json["message"]) == (404, "State not found")
    head = ask(node, "GET", "/eth/v1/beacon/states/head/validators")
    assert (
        head.json["data"] == ask(node, "GET", "/eth/v1/beacon/states/160/validators").json["data"]
    )


def test_the_fork_is_that_of_the_schedule(node: ReplayNode) -> None:
    forks = {
        slot: ask(node, "GET", f"/eth/v1/beacon/states/{slot}/fork").json["data"]
        for slot in (95, 96)
    }
    assert forks[95]["epoch"] == "0"
    assert forks[96]["epoch"] == "3"
    assert forks[96]["previous_version"] == forks[95]["current_version"]


def test_sync_duties_are_the_seats_of_the_committee(node: ReplayNode) -> None:
    committee = ask(node, "GET", "/eth/v1/beacon/states/head/sync_committees").json["data"]
    duties = ask(node, "POST", "/eth/v1/validator/duties/sync/9", ["258", "300", "310"]).json
    for row in duties["data"]:
        assert row["pubkey"].startswith("0x")
        assert row["validator_sync_committee_indices"] == [
            str(seat)
            for seat, index in enumerate(committee["validators"])
            if index == row["validator_index"]
        ]
    assert duties["data"][0]["validator_index"] == "258"


def test_what_follows_from_a_block_is_what_a_real_node_said() -> None:
    """Against the recorded devnet, with what can be derived taken out of it."""
    derivable = ("/eth/v1/beacon/blinded_blocks/", "/root", "/attestations")
    whole = Recording.load(RECORDING_PATH)
    poorer = Recording(
        exchange
        for exchange in read_exchanges(RECORDING_PATH)
        if not exchange.path.startswith(derivable[0]) and not exchange.path.endswith(derivable[1:])
    )
    recorded, derived = ReplayNode(whole), ReplayNode(poorer)
    for slot in (40, 170, 340):
        for path in (
            f"/eth/v1/beacon/blocks/{slot}/root",
            f"/eth/v2/beacon/blocks/{slot}/attestations",
        ):
            assert ask(derived, "GET", path).json == ask(recorded, "GET", path).json
        path = f"/eth/v1/beacon/blinded_blocks/{slot}"
        truth, ours = ask(recorded, "GET", path).json, ask(derived, "GET", path).json
        for blinded in (truth, ours):
            header = blinded["data"]["message"]["body"]["execution_payload_header"]
            assert header.pop("transactions_root")
            assert header.pop("withdrawals_root")
        assert ours == truth


def test_states_of_both_recordings_are_served_as_recorded() -> None:
    for path, slots, versions in (
        (RECORDING, (24, 32), ("deneb", "electra")),
        (MAINNET, (95, 96), ("electra", "fulu")),
    ):
        node = ReplayNode(Recording.load(path))
        for slot, version in zip(slots, versions, strict=True):
            reply = ask(node, "GET", f"/eth/v2/debug/beacon/states/{slot}")
            # A state's slot lies behind genesis_time and genesis_validators_root.
            assert int.from_bytes(reply.content[40:48], "little") == slot
            assert reply.headers["eth-consensus-version"] == version
            assert reply.headers["content-type"] == "application/octet-stream"


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    entry = {"slot": 8, "version": "fulu", "bytes": 3}
    (tmp_path / "index.jsonl").write_text(json.dumps(entry))
    (tmp_path / "state-8.ssz.zst").write_bytes(b"no")
    state = RecordedStates.of_folder(tmp_path).at(8)
    assert state is not None
    with pytest.raises(RecordingError, match=r"state-8\.ssz\.zst: not a compressed beacon state"):
        state.content()
    (tmp_path / "index.jsonl").write_text('{"slot": 8, "bytes": 3}')
    with pytest.raises(RecordingError, match=r"index\.jsonl, line 1: .* version is missing"):
        RecordedStates.of_folder(tmp_path)


def test_a_clock_by_hand_moves_the_chain_slot_by_slot(mainnet: Recording) -> None:
    clock = ManualClock()
    node = ReplayNode(mainnet, live=True, now=clock)
    assert node.view.head_slot == 0
    for slot in (0, 1, 31, 32, 351, 352):
        clock.move_to(node.clock, slot)
        assert node.view.head_slot == slot
    clock.advance(400)
    assert node.view.head_slot == 352
    with pytest.raises(TypeError, match="make the node with live=True"):
        clock.move_to(StoppedClock(8), 9)
