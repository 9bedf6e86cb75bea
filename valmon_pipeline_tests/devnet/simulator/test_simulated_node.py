"""The node of a simulated chain over HTTP: what it shows when, and how it fails when told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from valmon_pipeline.devnet.node_server import BackgroundNode
from valmon_pipeline.devnet.simulator import SimulatedNode, Simulation, config, simulated_node
from valmon_pipeline.devnet.simulator.incidents import (
    Consolidation,
    Deposit,
    Errors,
    LateBlock,
    Miss,
    Optimistic,
    PartialWithdrawalRequest,
    Reorg,
    SkippedSlot,
    Syncing,
    VoluntaryExit,
)

STATE = "/eth/v1/beacon/states"


@contextmanager
def client_of(simulation: Simulation, **options: Any) -> Iterator[httpx.Client]:
    with (
        simulated_node(simulation, **options) as node,
        httpx.Client(base_url=node.url) as client,
    ):
        yield client


def data(client: httpx.Client, path: str) -> Any:
    return client.get(path).raise_for_status().json()["data"]


def test_the_head_moves_when_the_test_says_so() -> None:
    simulation = Simulation(config("minimal"), 64, incidents=[SkippedSlot(12)])
    with client_of(simulation) as client:
        for slot in (3, 11, 12, 13):
            simulation.advance_to(slot)
            head = data(client, "/eth/v1/beacon/headers/head")["header"]["message"]["slot"]
            assert int(head) == (11 if slot == 12 else slot)
            assert data(client, "/eth/v1/node/syncing")["head_slot"] == head
            assert client.get(f"/eth/v1/beacon/headers/{slot + 1}").status_code == 404
            assert client.get(f"{STATE}/{slot + 1}/root").status_code == 404
            assert client.get(f"{STATE}/{slot}/root").status_code == 200


def test_every_state_of_the_past_is_answered() -> None:
    simulation = Simulation(config("minimal"), 64, seed=2, miss_rate=0.1)
    live = {}
    with client_of(simulation) as client:
        for slot in range(1, 41):
            simulation.advance_to(slot)
            live[slot] = data(client, f"{STATE}/head/validators")
        for slot, rows in live.items():
            assert data(client, f"{STATE}/{slot}/validators") == rows


def test_finality_is_told_with_every_answer() -> None:
    simulation = Simulation(config("minimal"), 64)
    simulation.advance_to_epoch(6)
    with client_of(simulation) as client:
        finalized = int(data(client, f"{STATE}/head/finality_checkpoints")["finalized"]["epoch"])
        assert finalized == 4
        for slot, final in ((32, True), (33, False)):
            response = client.get(f"{STATE}/{slot}/root")
            assert response.json()["finalized"] is final
            assert response.headers["eth-consensus-finalized"] == str(final).lower()


def test_rewards_come_when_their_epoch_is_paid() -> None:
    simulation = Simulation(config("minimal"), 64)
    path = "/eth/v1/beacon/rewards/attestations/1"
    with client_of(simulation) as client:
        simulation.advance_to(23)
        assert client.post(path, json=[]).status_code == 404
        simulation.advance_to(24)
        rewards = client.post(path, json=["1", "5", "999"]).raise_for_status().json()["data"]
        assert [row["validator_index"] for row in rewards["total_rewards"]] == ["1", "5"]
        assert len(rewards["ideal_rewards"]) == 2049


def test_blocks_are_children_of_their_parents() -> None:
    simulation = Simulation(config("minimal"), 64, incidents=[SkippedSlot(5), Reorg(20, 2)])
    simulation.advance_to(30)
    with client_of(simulation) as client:
        parent = data(client, "/eth/v1/beacon/headers/genesis")["root"]
        for slot in range(1, 31):
            response = client.get(f"/eth/v1/beacon/headers/{slot}")
            if response.status_code == 404:
                assert slot in (5, 18, 19)
                continue
            header = response.json()["data"]
            assert header["header"]["message"]["parent_root"] == parent
            children = data(client, f"/eth/v1/beacon/headers?parent_root={parent}")
            assert [child["root"] for child in children] == [header["root"]]
            parent = header["root"]


def test_a_lost_block_is_the_head_then_remembered_and_at_last_forgotten() -> None:
    simulation = Simulation(config("minimal"), 64, incidents=[Reorg(20, 1)])
    with client_of(simulation) as client:
        simulation.advance_to(19)
        lost = data(client, "/eth/v1/beacon/headers/head")
        assert lost["canonical"] is True
        simulation.advance_to(20)
        assert client.get("/eth/v1/beacon/headers/19").status_code == 404
        remembered = data(client, f"/eth/v1/beacon/headers/{lost['root']}")
        assert remembered["header"] == lost["header"]
        assert remembered["canonical"] is False
        for path in ("/eth/v2/beacon/blocks", "/eth/v1/beacon/rewards/blocks"):
            assert client.get(f"{path}/{lost['root']}").status_code == 200
        simulation.advance_to_epoch(6)
        assert client.get(f"/eth/v1/beacon/headers/{lost['root']}").status_code == 404


def test_a_late_block_is_shown_from_the_next_slot_on() -> None:
    simulation = Simulation(config("minimal"), 64, incidents=[LateBlock(20)])
    with client_of(simulation) as client:
        simulation.advance_to(20)
        assert client.get("/eth/v1/beacon/headers/20").status_code == 404
        assert data(client, "/eth/v1/node/syncing")["head_slot"] == "19"
        simulation.advance_to(21)
        assert client.get("/eth/v1/beacon/headers/20").status_code == 200


def test_duties_are_known_when_an_epoch_begins_with_a_late_block() -> None:
    simulation = Simulation(config("minimal"), 64, incidents=[LateBlock(24)])
    simulation.advance_to(24)
    with client_of(simulation) as client:
        path = "/eth/v1/validator/duties/attester/4"
        early = client.post(path, json=["5"]).json()["data"]
        assert 32 <= int(early[0]["slot"]) < 40
        simulation.advance_to(25)
        assert client.post(path, json=["5"]).json()["data"] == early


def test_queues_are_listed_since_electra() -> None:
    simulation = Simulation(
        config("minimal", electra_epoch=2),
        128,
        incidents=[
            Deposit(20),
            Consolidation(40, 10, 9),
            PartialWithdrawalRequest(41, 9, 1_000_000),
        ],
    )
    simulation.advance_to(45)
    with client_of(simulation) as client:
        for name in ("pending_deposits", "pending_partial_withdrawals", "pending_consolidations"):
            assert client.get(f"{STATE}/15/{name}").status_code == 400
        queue = data(client, f"{STATE}/20/pending_deposits")
        # Before it stands what compounding validators had too much when Electra began.
        assert {entry["slot"] for entry in queue[:-1]} == {"0"}
        assert (queue[-1]["amount"], queue[-1]["slot"]) == ("32000000000", "20")
        response = client.get(f"{STATE}/40/pending_consolidations")
        assert response.json()["data"] == [{"source_index": "10", "target_index": "9"}]
        assert response.json()["version"] == response.headers["eth-consensus-version"] == "electra"
        (withdrawal,) = data(client, f"{STATE}/41/pending_partial_withdrawals")
        assert withdrawal["validator_index"] == "9"
        assert client.get(f"{STATE}/40/proposer_lookahead").status_code == 400


def test_since_fulu_proposers_are_known_an_epoch_ahead() -> None:
    simulation = Simulation(config("minimal", fulu_epoch=3), 64)
    with client_of(simulation) as client:
        simulation.advance_to_epoch(2)
        assert client.get("/eth/v2/validator/duties/proposer/2").status_code == 404
        simulation.advance_to(28)
        current, ahead = (
            client.get(f"/eth/v2/validator/duties/proposer/{epoch}").json() for epoch in (3, 4)
        )
        lookahead = data(client, f"{STATE}/28/proposer_lookahead")
        assert lookahead == [row["validator_index"] for row in current["data"] + ahead["data"]]
        root = data(client, "/eth/v1/beacon/headers/23")["root"]
        assert ahead["dependent_root"] == root
        simulation.advance_to_epoch(5)
        proposers = [
            data(client, f"/eth/v1/beacon/headers/{slot}")["header"]["message"]["proposer_index"]
            for slot in range(32, 40)
        ]
        assert proposers == lookahead[8:]
        assert data(client, "/eth/v2/beacon/blocks/24")["message"]["body"]["execution_requests"]
        assert client.get("/eth/v2/beacon/blocks/24").json()["version"] == "fulu"


def test_duties_agree_with_committees() -> None:
    simulation = Simulation(config("minimal"), 100, seed=8)
    simulation.advance_to_epoch(3)
    with client_of(simulation) as client:
        for epoch in (1, 2, 3, 4):
            path = f"/eth/v1/validator/duties/attester/{epoch}"
            duties = client.post(path, json=[str(index) for index in range(100)]).json()["data"]
            state = min(epoch, 3) * 8
            committees = {
                (row["slot"], row["index"]): row["validators"]
                for row in data(client, f"{STATE}/{state}/committees?epoch={epoch}")
            }
            assert len(duties) == 100
            for duty in duties:
                members = committees[duty["slot"], duty["committee_index"]]
                position = int(duty["validator_committee_index"])
                assert members[position] == duty["validator_index"]
                assert len(members) == int(duty["committee_length"])


def test_a_syncing_node_stays_behind_and_refuses_duties() -> None:
    simulation = Simulation(config("minimal"), 64, incidents=[Syncing(range(20, 22), distance=6)])
    with client_of(simulation) as client:
        simulation.advance_to(20)
        status = data(client, "/eth/v1/node/syncing")
        assert status["is_syncing"] is True
        assert (status["head_slot"], status["sync_distance"]) == ("14", "6")
        assert client.get("/eth/v1/beacon/headers/15").status_code == 404
        assert client.get("/eth/v1/node/health").status_code == 206
        assert client.get("/eth/v1/validator/duties/proposer/2").status_code == 503
        simulation.advance_to(22)
        assert data(client, "/eth/v1/node/syncing")["is_syncing"] is False
        assert client.get("/eth/v1/beacon/headers/20").status_code == 200


def test_an_optimistic_node_says_so_everywhere() -> None:
    simulation = Simulation(config("minimal"), 64, incidents=[Optimistic(range(20, 21))])
    with client_of(simulation) as client:
        for slot, optimistic in ((20, True), (21, False)):
            simulation.advance_to(slot)
            assert data(client, "/eth/v1/node/syncing")["is_optimistic"] is optimistic
            header = client.get("/eth/v1/beacon/headers/head").json()
            assert header["execution_optimistic"] is optimistic


def test_a_failing_node_fails_at_its_rate() -> None:
    fault = Errors(range(5, 6), rate=0.3, status=503)
    simulation = Simulation(config("minimal"), 64, incidents=[fault])
    with client_of(simulation) as client:
        simulation.advance_to(5)
        statuses = [client.get("/eth/v1/config/spec").status_code for _ in range(200)]
        assert 30 < statuses.count(503) < 90
        assert set(statuses) == {200, 503}
        simulation.advance_to(6)
        assert client.get("/eth/v1/config/spec").status_code == 200


def test_liveness_follows_the_votes() -> None:
    simulation = Simulation(config("minimal"), 64, incidents=[Miss([3], range(2, 3))])
    simulation.advance_to_epoch(3)
    with client_of(simulation) as client:
        live = client.post("/eth/v1/validator/liveness/2", json=["3", "4"]).json()["data"]
        assert [row["is_live"] for row in live] == [False, True]
        assert client.post("/eth/v1/validator/liveness/1", json=["3"]).status_code == 400


def test_events_come_as_the_chain_advances() -> None:
    simulation = Simulation(
        config("minimal"), 64, incidents=[Reorg(20, 1), VoluntaryExit(34, 3), LateBlock(22)]
    )
    simulation.advance_to(15)
    topics = ["head", "block", "chain_reorg", "finalized_checkpoint", "voluntary_exit"]
    events: list[tuple[str, Any]] = []
    with simulated_node(simulation) as node:
        subscribed = threading.Event()

        def listen() -> None:
            with httpx.stream(
                "GET", f"{node.url}/eth/v1/events", params={"topics": topics}
            ) as stream:
                subscribed.set()
                topic = ""
                for line in stream.iter_lines():
                    if line.startswith("event: "):
                        topic = line.removeprefix("event: ")
                    elif line.startswith("data: "):
                        events.append((topic, json.loads(line.removeprefix("data: "))))
                        if topic == "head" and events[-1][1]["slot"] == "41":
                            return

        listener = threading.Thread(target=listen)
        listener.start()
        assert subscribed.wait(10)
        for slot in range(16, 42):
            simulation.advance_to(slot)
        listener.join(20)
        assert not listener.is_alive()
    heads = [int(event["slot"]) for topic, event in events if topic == "head"]
    assert heads == list(range(16, 42))
    (reorg,) = [event for topic, event in events if topic == "chain_reorg"]
    assert (reorg["slot"], reorg["depth"]) == ("20", "1")
    (leaving,) = [event for topic, event in events if topic == "voluntary_exit"]
    assert leaving["message"]["validator_index"] == "3"
    finalized = [int(event["epoch"]) for topic, event in events if topic == "finalized_checkpoint"]
    assert finalized == [2, 3]


def test_a_live_chain_follows_the_clock() -> None:
    seconds = 1_800_000_000.0
    simulation = Simulation(config("minimal"), 64)
    node = SimulatedNode(simulation, live=True, start_slot=16, now=lambda: seconds)
    with BackgroundNode(node) as served, httpx.Client(base_url=served.url) as client:
        genesis = int(data(client, "/eth/v1/beacon/genesis")["genesis_time"])
        for slot in (16, 17, 40):
            seconds = genesis + 6 * slot + 3
            head = data(client, "/eth/v1/beacon/headers/head")["header"]["message"]["slot"]
            assert int(head) == slot
            assert node.now() == seconds


def test_a_chain_by_hand_tells_its_time() -> None:
    simulation = Simulation(config("minimal", slot_duration_ms=500), 64)
    node = SimulatedNode(simulation, genesis_time=1000)
    simulation.advance_to(10)
    assert node.now() == pytest.approx(1005.25)
    assert "SECONDS_PER_SLOT" not in simulation.config
