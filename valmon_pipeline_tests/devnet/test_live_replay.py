"""A chain that runs along with the wall clock, driven here by a clock of the test's own."""

from __future__ import annotations

import json

import httpx
import pytest

from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.answer import Answer, RefusalError
from valmon_pipeline.devnet.block_answers import BlockAnswers
from valmon_pipeline.devnet.clock import LiveClock
from valmon_pipeline.devnet.question import Question
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.recording_error import RecordingError
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.devnet.reward_answers import RewardAnswers
from valmon_pipeline.devnet.state_answers import StateAnswers


class WallClock:
    """A wall clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def wall_clock() -> WallClock:
    return WallClock()


def _live(recording: Recording, wall_clock: WallClock, start_slot: int) -> ReplayNode:
    return ReplayNode(recording, live=True, start_slot=start_slot, now=wall_clock)


def _header(node: ReplayNode, block_id: str) -> Answer:
    path = f"/eth/v1/beacon/headers/{block_id}"
    question = Question("GET", path, parameters={"block_id": block_id})
    return BlockAnswers(node.view).by_block_id(question)


def test_the_head_follows_the_wall_clock_to_the_last_slot(
    recording: Recording, wall_clock: WallClock
) -> None:
    node = _live(recording, wall_clock, start_slot=100)
    assert node.view.head_slot == 100
    wall_clock.seconds += 2 * 5
    assert node.view.head_slot == 105
    wall_clock.seconds += 100_000
    assert node.view.head_slot == 351


def test_genesis_is_shifted_so_that_slots_are_now(
    recording: Recording, wall_clock: WallClock
) -> None:
    node = _live(recording, wall_clock, start_slot=101)
    with BackgroundReplayNode(node) as background, httpx.Client(base_url=background.url) as client:
        genesis = client.get("/eth/v1/beacon/genesis").json()["data"]
        assert int(genesis["genesis_time"]) + 101 * 2 == wall_clock.seconds
        assert genesis["genesis_validators_root"].startswith("0x5563")
        assert client.get("/eth/v1/node/syncing").json()["data"]["head_slot"] == "101"


def test_blocks_and_states_ahead_of_the_head_are_not_there(
    recording: Recording, wall_clock: WallClock
) -> None:
    node = _live(recording, wall_clock, start_slot=100)
    later = recording.blocks[101]
    for block_id in ("101", later.root):
        with pytest.raises(RefusalError) as refused:
            _header(node, block_id)
        assert refused.value.status == 404
    with pytest.raises(RefusalError):
        node.view.state_slot("101")
    wall_clock.seconds += 2
    assert _header(node, "101").status == 200
    assert _header(node, later.root).status == 200


def test_nothing_is_called_final_before_it_was(recording: Recording, wall_clock: WallClock) -> None:
    node = _live(recording, wall_clock, start_slot=100)
    epoch = int(node.view.checkpoints()["finalized"]["epoch"])
    assert epoch == 10
    assert b'"finalized":true' in _header(node, str(epoch * 8)).body
    young = _header(node, "99")
    assert b'"finalized":false' in young.body
    assert young.headers["eth-consensus-finalized"] == "false"
    assert json.loads(young.body)["data"]["root"] == recording.blocks[99].root


def test_finality_stalls_as_it_did(recording: Recording, wall_clock: WallClock) -> None:
    node = _live(recording, wall_clock, start_slot=8 * 24)
    assert node.view.checkpoints()["finalized"]["epoch"] == "16"
    question = Question(
        "GET", "/eth/v1/beacon/states/head/finality_checkpoints", parameters={"state_id": "head"}
    )
    answer = StateAnswers(node.view).finality_checkpoints(question)
    assert json.loads(answer.body)["data"]["finalized"]["epoch"] == "16"


def test_rewards_of_an_epoch_are_there_when_the_next_one_is_over(
    recording: Recording, wall_clock: WallClock
) -> None:
    node = _live(recording, wall_clock, start_slot=8 * 7 - 2)
    question = Question(
        "POST", "/eth/v1/beacon/rewards/attestations/5", body=b"[]", parameters={"epoch": "5"}
    )
    rewards = RewardAnswers(node.view)
    with pytest.raises(RefusalError):
        rewards.attestations(question)
    wall_clock.seconds += 2
    assert rewards.attestations(question).status == 200


def test_a_fork_is_the_head_for_its_slot_and_forgotten_at_finality(
    recording: Recording, wall_clock: WallClock
) -> None:
    orphan = next(block for block in recording.orphans.values() if block.slot == 282)
    node = _live(recording, wall_clock, start_slot=282)
    header = json.loads(_header(node, "head").body)["data"]
    assert header["root"] == orphan.root
    assert json.loads(_header(node, "282").body)["data"] == header
    path = f"/eth/v1/beacon/rewards/sync_committee/{orphan.root}"
    rewards = RewardAnswers(node.view).sync_committee(
        Question("POST", path, body=b'["3"]', parameters={"block_id": orphan.root})
    )
    assert rewards.status == 200
    wall_clock.seconds += 2
    with pytest.raises(RefusalError):
        RewardAnswers(node.view).sync_committee(
            Question("POST", path, body=b"[]", parameters={"block_id": "284"})
        )
    assert _header(node, "282").status == 404
    assert json.loads(_header(node, "head").body)["data"]["root"] == recording.blocks[283].root
    assert _header(node, orphan.root).status == 200
    wall_clock.seconds += 2 * 8 * 4
    with pytest.raises(RefusalError) as refused:
        _header(node, orphan.root)
    assert refused.value.status == 404


def test_the_head_of_an_empty_slot_is_the_block_before(
    recording: Recording, wall_clock: WallClock
) -> None:
    node = _live(recording, wall_clock, start_slot=100)
    assert 100 not in recording.blocks
    assert node.view.state_slot("head") == 99
    assert json.loads(_header(node, "head").body)["data"]["root"] == recording.blocks[99].root


def test_another_speed_is_a_shorter_slot(recording: Recording) -> None:
    node = ReplayNode(recording, live=True, speed=8)
    with BackgroundReplayNode(node) as background, httpx.Client(base_url=background.url) as client:
        spec = client.get("/eth/v1/config/spec").json()["data"]
    assert spec["SLOT_DURATION_MS"] == "250"
    assert "SECONDS_PER_SLOT" not in spec
    assert spec["SLOTS_PER_EPOCH"] == "8"


def test_a_start_that_was_not_recorded_is_refused(recording: Recording) -> None:
    with pytest.raises(RecordingError, match="cannot start at slot 400; slots 8 to 351"):
        ReplayNode(recording, live=True, start_slot=400)
    with pytest.raises(RecordingError, match="speed is 0"):
        ReplayNode(recording, live=True, speed=0)


def test_events_come_with_their_slots() -> None:
    # 100 slots per second, so that the stream of an epoch arrives at once.
    node = ReplayNode(RECORDING_PATH, live=True, start_slot=40, speed=200)
    assert isinstance(node.clock, LiveClock)
    slots: list[int] = []
    with (
        BackgroundReplayNode(node) as background,
        httpx.Client(base_url=background.url) as client,
        client.stream("GET", "/eth/v1/events?topics=head&topics=chain_reorg") as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("data: "):
                slots.append(int(json.loads(line.removeprefix("data: "))["slot"]))
                assert slots[-1] <= node.clock.slot()
            if len(slots) == 5:
                break
    assert slots == sorted(slots)
    assert slots[0] >= 40


def test_a_server_stops_although_someone_listens(recording: Recording) -> None:
    node = ReplayNode(recording)
    with BackgroundReplayNode(node) as background:
        client = httpx.Client(base_url=background.url)
        stream = client.send(client.build_request("GET", "/eth/v1/events?topics=head"), stream=True)
        assert stream.status_code == 200
    assert list(stream.iter_lines()) == []
    client.close()
