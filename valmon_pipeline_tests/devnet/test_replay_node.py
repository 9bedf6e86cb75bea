"""The replay node over HTTP, compared with what the recorded node answered."""

from __future__ import annotations

import re
from collections import Counter

import httpx
import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from valmon_pipeline.beacon.archive import Exchange, read_exchanges
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode

_EPOCH_5_STATE = "/eth/v1/beacon/states/40"


def _ask(client: httpx.Client, exchange: Exchange) -> httpx.Response:
    query = f"?{exchange.query_string}" if exchange.query else ""
    return client.request(
        exchange.method,
        exchange.path + query,
        content=exchange.request_content,
        headers={"content-type": "application/json"} if exchange.method == "POST" else {},
    )


def _kind(exchange: Exchange) -> tuple[str, int]:
    return re.sub(r"/\d+", "/N", exchange.path), exchange.status


@pytest.mark.slow
def test_history_is_answered_byte_for_byte(client: httpx.Client) -> None:
    differences: Counter[tuple[str, int]] = Counter()
    asked = 0
    for exchange in read_exchanges(RECORDING_PATH):
        if exchange.phase in ("final", "orphan_final"):
            answer = _ask(client, exchange)
            asked += 1
            if (answer.status_code, answer.content) != (exchange.status, exchange.content):
                differences[_kind(exchange)] += 1
    assert asked == 4726
    # The recorded client refuses past duties; the node answers them from when they were current.
    assert differences == {
        ("/eth/v1/validator/duties/attester/N", 500): 43,
        ("/eth/v1/validator/duties/sync/N", 500): 24,
        ("/eth/v1/validator/liveness/N", 400): 43,
    }


def _is_a_subset_of_another_answer(exchange: Exchange) -> bool:
    """Whether the answer can be derived from that for all validators, or of another state."""
    if exchange.phase != "final" or exchange.status != 200:
        return False
    last = exchange.path.rsplit("/", 1)[-1]
    if exchange.method == "POST":
        return bool(exchange.request_content != b"[]" and "/duties/" not in exchange.path)
    if last == "committees":
        return int(exchange.path.split("/")[5]) % 8 == 7
    return last == "validators" and exchange.query is not None


def test_subsets_equal_what_the_recorded_node_answered_to_them() -> None:
    exchanges = list(read_exchanges(RECORDING_PATH))
    subsets = [exchange for exchange in exchanges if _is_a_subset_of_another_answer(exchange)]
    rest = Recording(
        exchange for exchange in exchanges if not _is_a_subset_of_another_answer(exchange)
    )
    kinds = Counter(f"{e.method} {re.sub('/[0-9]+', '/N', e.path)}" for e in subsets)
    assert kinds == {
        "GET /eth/v1/beacon/states/N/validators": 4 * 43,
        "POST /eth/v1/beacon/states/N/validators": 43,
        "POST /eth/v1/beacon/states/N/validator_balances": 43,
        "POST /eth/v1/beacon/states/N/validator_identities": 43,
        "GET /eth/v1/beacon/states/N/committees": 43,
        "POST /eth/v1/beacon/rewards/attestations/N": 43,
    }
    with (
        BackgroundReplayNode(ReplayNode(rest)) as node,
        httpx.Client(base_url=node.url) as client,
    ):
        for exchange in subsets:
            answer = _ask(client, exchange)
            assert answer.status_code == 200, (exchange.path, exchange.query_string, answer.text)
            assert msgspec.json.decode(answer.content) == msgspec.json.decode(exchange.content), (
                exchange.path,
                exchange.query_string,
            )


def test_blocks_and_states_are_found_by_root(client: httpx.Client, recording: Recording) -> None:
    by_root = [
        exchange
        for exchange in read_exchanges(RECORDING_PATH)
        if exchange.phase == "final" and "/0x" in exchange.path
    ]
    assert len(by_root) == 5 * 17
    without = Recording(
        exchange for exchange in read_exchanges(RECORDING_PATH) if "/0x" not in exchange.path
    )
    with BackgroundReplayNode(ReplayNode(without)) as node, httpx.Client(base_url=node.url) as c:
        for exchange in by_root:
            assert _ask(c, exchange).content == exchange.content, exchange.path
    for block in recording.blocks.values():
        if block.slot % 16 == 1:
            by_slot = client.get(f"/eth/v2/beacon/blocks/{block.slot}/attestations")
            answer = client.get(f"/eth/v2/beacon/blocks/{block.root}/attestations")
            assert answer.content == by_slot.content


def test_repeated_parameters_and_commas_select_but_encoded_commas_do_not(
    client: httpx.Client,
) -> None:
    def indices(query: str) -> list[str]:
        rows = client.get(f"{_EPOCH_5_STATE}/validators?{query}").json()["data"]
        return [row["index"] for row in rows]

    assert indices("id=7&id=0&id=5") == ["7", "0", "5"]
    assert indices("id=7,0,5") == ["7", "0", "5"]
    assert indices("id=7%2C0%2C5") == []
    assert indices("id=100000") == []
    assert indices("id=7&status=exited") == []
    assert len(indices("status=active")) == 128


def test_validators_are_found_by_public_key_in_any_case(client: httpx.Client) -> None:
    row = client.get(f"{_EPOCH_5_STATE}/validators/17").json()["data"]
    key = row["validator"]["pubkey"]
    upper = "0x" + key[2:].upper()
    for body in ([key], [upper], ["17"]):
        answer = client.post(f"{_EPOCH_5_STATE}/validators", json={"ids": body})
        assert answer.json()["data"] == [row]
    assert client.get(f"{_EPOCH_5_STATE}/validators/{key}").json()["data"] == row
    rewards = client.post("/eth/v1/beacon/rewards/attestations/5", json=[key]).json()["data"]
    assert [row["validator_index"] for row in rewards["total_rewards"]] == ["17"]


@pytest.mark.parametrize("body", [b"", b"[]", b"null"])
def test_no_ids_at_all_mean_everybody(client: httpx.Client, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    rewards = client.post("/eth/v1/beacon/rewards/attestations/5", content=body, headers=headers)
    assert len(rewards.json()["data"]["total_rewards"]) == 128
    balances = client.post(f"{_EPOCH_5_STATE}/validator_balances", content=body, headers=headers)
    assert len(balances.json()["data"]) == 128


def test_unknown_ids_are_left_out_of_rewards_and_duties(client: httpx.Client) -> None:
    rewards = client.post("/eth/v1/beacon/rewards/attestations/5", json=["0", "100000"])
    assert [row["validator_index"] for row in rewards.json()["data"]["total_rewards"]] == ["0"]
    duties = client.post("/eth/v1/validator/duties/attester/5", json=["0", "100000"])
    assert [row["validator_index"] for row in duties.json()["data"]] == ["0"]


def test_sync_rewards_of_some_members(client: httpx.Client) -> None:
    everybody = client.post("/eth/v1/beacon/rewards/sync_committee/40", json=[]).json()["data"]
    some = everybody[3]["validator_index"]
    answer = client.post("/eth/v1/beacon/rewards/sync_committee/40", json=[some, "100000"])
    assert answer.json()["data"] == [row for row in everybody if row["validator_index"] == some]


def test_committees_of_one_slot_and_index(client: httpx.Client) -> None:
    everything = client.get(f"{_EPOCH_5_STATE}/committees").json()["data"]
    assert len(everything) == 32
    some = client.get(f"{_EPOCH_5_STATE}/committees?epoch=5&slot=42&index=1").json()["data"]
    assert some == [row for row in everything if (row["slot"], row["index"]) == ("42", "1")]
    far = client.get(f"{_EPOCH_5_STATE}/committees?epoch=9")
    assert far.status_code == 500
    assert "OUT_OF_RANGE" in far.json()["message"]


def test_the_next_sync_committee_is_known_and_the_one_after_is_not(client: httpx.Client) -> None:
    later = client.get("/eth/v1/beacon/states/64/sync_committees?epoch=8").json()
    assert client.get(f"{_EPOCH_5_STATE}/sync_committees?epoch=8").json() == later
    assert client.get(f"{_EPOCH_5_STATE}/sync_committees?epoch=16").status_code == 500


def test_the_registry_inside_an_epoch_has_the_balances_of_its_slot(client: httpx.Client) -> None:
    balances = client.get("/eth/v1/beacon/states/44/validator_balances").json()["data"]
    validators = client.get("/eth/v1/beacon/states/44/validators").json()["data"]
    first = client.get(f"{_EPOCH_5_STATE}/validators").json()["data"]
    assert [row["balance"] for row in validators] == [row["balance"] for row in balances]
    assert [row["validator"] for row in validators] == [row["validator"] for row in first]
    assert [row["balance"] for row in validators] != [row["balance"] for row in first]


def test_a_stopped_chain_is_synced_and_final_to_its_end(client: httpx.Client) -> None:
    syncing = client.get("/eth/v1/node/syncing").json()["data"]
    assert (syncing["head_slot"], syncing["is_syncing"]) == ("351", False)
    head = client.get("/eth/v1/beacon/headers/head").json()["data"]
    assert head["header"]["message"]["slot"] == "351"
    assert client.get("/eth/v1/beacon/headers").json()["data"] == [head]
    finalized = client.get("/eth/v1/beacon/states/head/finality_checkpoints").json()["data"]
    root = client.get("/eth/v1/beacon/headers/344").json()["data"]["root"]
    assert finalized["finalized"] == {"epoch": "43", "root": root}
    assert client.get("/eth/v1/beacon/headers/finalized").json()["data"]["root"] == root
    # States of the past keep the checkpoints they had.
    past = client.get(f"{_EPOCH_5_STATE}/finality_checkpoints").json()["data"]
    assert int(past["finalized"]["epoch"]) < 5


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/eth/v1/beacon/headers/10", 404),
        ("GET", "/eth/v1/beacon/headers/352", 404),
        ("GET", "/eth/v2/beacon/blocks/0x" + "ab" * 32, 404),
        ("GET", "/eth/v2/beacon/blocks/abc", 400),
        ("GET", "/eth/v1/beacon/states/352/validators", 404),
        ("GET", "/eth/v1/beacon/states/3/validators", 404),
        ("GET", "/eth/v1/beacon/states/head/nonsense", 404),
        ("GET", "/eth/v1/beacon/headers?slot=abc", 400),
        ("GET", f"{_EPOCH_5_STATE}/committees?epoch=-1", 400),
        ("GET", f"{_EPOCH_5_STATE}/validators/100000", 404),
        ("GET", "/eth/v1/validator/duties/proposer/45", 400),
        ("GET", "/eth/v2/validator/duties/proposer/5", 404),
        ("GET", "/eth/v1/events", 400),
        ("GET", "/eth/v1/events?topics=bogus", 400),
        ("GET", "/eth/v1/events?topics=head%2Cblock", 400),
        ("PUT", "/eth/v1/node/version", 404),
        ("GET", "/", 404),
    ],
)
def test_refusals_have_the_form_of_the_api(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["code"] == status
    assert answer.json()["message"]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"[", "application/json", 400),
        (b"{}", "application/json", 400),
        (b'["abc"]', "application/json", 400),
        (b"[1.5]", "application/json", 400),
        (b'["3"]', "text/plain", 415),
    ],
)
def test_bodies_that_are_no_list_of_validators_are_refused(
    client: httpx.Client, body: bytes, content_type: str, status: int
) -> None:
    for path in (
        "/eth/v1/beacon/rewards/attestations/5",
        "/eth/v1/beacon/rewards/sync_committee/40",
        "/eth/v1/validator/duties/attester/5",
        f"{_EPOCH_5_STATE}/validator_balances",
    ):
        answer = client.post(path, content=body, headers={"content-type": content_type})
        assert answer.status_code == status, path
        assert answer.json()["code"] == status


def test_duties_of_nobody_are_refused(client: httpx.Client) -> None:
    for kind in ("attester", "sync"):
        answer = client.post(f"/eth/v1/validator/duties/{kind}/5", json=[])
        assert answer.status_code == 400


def test_answers_in_other_formats_are_refused(client: httpx.Client) -> None:
    answer = client.get("/eth/v2/beacon/blocks/head", headers={"accept": "text/html"})
    assert answer.status_code == 406


def test_faults_are_sent_instead_of_answers(recording: Recording) -> None:
    def fault(request: Request) -> Response | None:
        if "rewards" in request.url.path:
            return PlainTextResponse("busy", 503, {"retry-after": "1"})
        return None

    with (
        BackgroundReplayNode(ReplayNode(recording, faults=fault)) as node,
        httpx.Client(base_url=node.url) as client,
    ):
        answer = client.post("/eth/v1/beacon/rewards/attestations/5", json=[])
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert client.get("/eth/v1/config/spec").status_code == 200


def test_the_node_tells_which_epochs_it_can_show(recording: Recording) -> None:
    node = ReplayNode(recording)
    assert (node.first_epoch, node.last_epoch) == (1, 41)
