"""Profiles of clients: which requests about an epoch are answered at what age, and the refusals.

The tables are those of the clients' sources; Lodestar's is also held against a real node's answers.
The chain is the recorded one of mainnet's shape, whose finalized epoch is the head's less two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import pytest

from valmon_pipeline.beacon.archive import Exchange
from valmon_pipeline.devnet.chain_view import ChainView
from valmon_pipeline.devnet.clients.asked import NodeSettings
from valmon_pipeline.devnet.clients.catalogue import CLIENTS, UnknownClientError, profile_of
from valmon_pipeline.devnet.clients.profile import ProfiledNode
from valmon_pipeline.devnet.clock import ManualClock, StoppedClock
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import ReplayNode
from valmon_pipeline_tests.devnet.questions import ask, question
from valmon_pipeline_tests.recordings import BY_AGE, MAINNET

EPOCH: Final = 4
FIRST: Final = 32 * EPOCH
AGES: Final = range(6)
OK: Final = (200, "")

Expected = tuple[int, str]

REQUESTS: Final[dict[str, tuple[str, str, object]]] = {
    "registry": ("GET", f"/eth/v1/beacon/states/{FIRST}/validators?id=3", None),
    "finality": ("GET", f"/eth/v1/beacon/states/{FIRST}/finality_checkpoints", None),
    "queues": ("GET", f"/eth/v1/beacon/states/{FIRST}/pending_deposits", None),
    "ssz": ("GET", f"/eth/v2/debug/beacon/states/{FIRST}", None),
    "committees": ("GET", f"/eth/v1/beacon/states/{FIRST}/committees?epoch={EPOCH}", None),
    "head_committees": ("GET", f"/eth/v1/beacon/states/head/committees?epoch={EPOCH}", None),
    "sync_committee": ("GET", f"/eth/v1/beacon/states/{FIRST}/sync_committees", None),
    "head_sync_committee": (
        "GET",
        f"/eth/v1/beacon/states/head/sync_committees?epoch={EPOCH}",
        None,
    ),
    "header": ("GET", f"/eth/v1/beacon/headers/{FIRST}", None),
    "empty_slot": ("GET", "/eth/v1/beacon/headers/125", None),
    "block": ("GET", f"/eth/v2/beacon/blocks/{FIRST}", None),
    "blinded": ("GET", f"/eth/v1/beacon/blinded_blocks/{FIRST}", None),
    "attestation_rewards": ("POST", f"/eth/v1/beacon/rewards/attestations/{EPOCH}", ["3"]),
    "first_block_rewards": ("GET", f"/eth/v1/beacon/rewards/blocks/{FIRST}", None),
    "block_rewards": ("GET", f"/eth/v1/beacon/rewards/blocks/{FIRST + 1}", None),
    "first_sync_rewards": ("POST", f"/eth/v1/beacon/rewards/sync_committee/{FIRST}", []),
    "sync_rewards": ("POST", f"/eth/v1/beacon/rewards/sync_committee/{FIRST + 1}", []),
    "proposers": ("GET", f"/eth/v1/validator/duties/proposer/{EPOCH}", None),
    "proposers_v2": ("GET", f"/eth/v2/validator/duties/proposer/{EPOCH}", None),
    "attesters": ("POST", f"/eth/v1/validator/duties/attester/{EPOCH}", ["3"]),
    "liveness": ("POST", f"/eth/v1/validator/liveness/{EPOCH}", ["3"]),
}
"""Requests about epoch 4 by name: method, path, body."""


def for_ever(answer: Expected = OK) -> list[Expected]:
    return [answer] * len(AGES)


def until(age: int, then: Expected, first: Expected = OK) -> list[Expected]:
    """``first`` up to ``age`` epochs after the epoch, ``then`` afterwards."""
    return [first if one <= age else then for one in AGES]


def between(first: int, last: int, before: Expected, after: Expected) -> list[Expected]:
    """Answered from one age to another, refused before and after it."""
    return [before if age < first else OK if age <= last else after for age in AGES]


NO_REGEN: Final = (500, "Historical state regen is not enabled, set --serveHistoricalState to")
OUT_OF_RANGE: Final = (500, "EPOCH_CONTEXT_ERROR_DECISION_ROOT_EPOCH_OUT_OF_RANGE")
NOT_IN_FORK_CHOICE: Final = (500, "REGEN_ERROR_BLOCK_NOT_IN_FORKCHOICE")
UNAVAILABLE: Final = (500, "State is unavailable for slot 191")
NO_ROUTE: Final = (404, "")
LH_STATE: Final = (404, f"NOT_FOUND: beacon state at slot {FIRST}")
LH_REWARDS: Final = (404, "missing state at slot 191")
LH_PARENT: Final = (404, "Parent state is not available! MissingBeaconState(0x")
TEKU_GONE: Final = (404, "Not found")
TEKU_RANGE: Final = (400, "Invalid epoch range. Latest available epoch for reward calculation is")
TEKU_SYNCING: Final = (503, "Beacon node is currently syncing")

TABLES: Final[dict[str, dict[str, list[Expected]]]] = {
    "lodestar": {
        **dict.fromkeys(
            ("registry", "finality", "queues", "ssz", "committees", "sync_committee"),
            until(2, NO_REGEN),
        ),
        "head_committees": until(1, OUT_OF_RANGE),
        "head_sync_committee": for_ever(),
        "header": for_ever(),
        "empty_slot": for_ever((404, "Block not found for id '125'")),
        "block": for_ever(),
        "blinded": for_ever(),
        "attestation_rewards": between(2, 3, UNAVAILABLE, UNAVAILABLE),
        "first_block_rewards": until(1, NOT_IN_FORK_CHOICE),
        "first_sync_rewards": until(1, NOT_IN_FORK_CHOICE),
        # Its parent leaves the 64 newest block states before it leaves fork choice.
        "block_rewards": [
            OK,
            OK,
            (500, "Pre-state is unavailable given block's parent root 0x"),
            *[NOT_IN_FORK_CHOICE] * 3,
        ],
        "proposers": until(2, NO_REGEN),
        "proposers_v2": until(2, NO_REGEN),
        "attesters": until(1, OUT_OF_RANGE),
        "liveness": until(1, (400, "is more than one epoch before or after the current epoch")),
    },
    "lighthouse": {
        **dict.fromkeys(
            ("registry", "finality", "queues", "ssz", "committees", "sync_committee", "proposers"),
            until(2, LH_STATE),
        ),
        "head_committees": for_ever(),
        "head_sync_committee": for_ever(),
        "header": for_ever(),
        "empty_slot": for_ever((404, "beacon block at slot 125")),
        "block": for_ever(),
        "blinded": for_ever(),
        "attestation_rewards": between(2, 3, LH_REWARDS, LH_REWARDS),
        "first_block_rewards": until(1, LH_PARENT),
        "first_sync_rewards": until(1, LH_PARENT),
        "block_rewards": until(2, LH_PARENT),
        "sync_rewards": until(2, LH_PARENT),
        "proposers_v2": for_ever((404, "NOT_FOUND")),
        "attesters": until(2, LH_STATE),
        "liveness": until(1, (400, "is more than one epoch from the current epoch")),
    },
    "teku": {
        **dict.fromkeys(
            ("registry", "finality", "queues", "ssz", "committees", "sync_committee"),
            until(2, TEKU_GONE),
        ),
        "head_committees": for_ever(),
        "head_sync_committee": for_ever(),
        "header": for_ever(),
        "empty_slot": for_ever(TEKU_GONE),
        "block": for_ever(),
        "blinded": for_ever(),
        "attestation_rewards": between(2, 3, TEKU_RANGE, TEKU_RANGE),
        "first_block_rewards": until(1, TEKU_GONE),
        "first_sync_rewards": until(2, TEKU_GONE),
        "block_rewards": until(2, TEKU_GONE),
        "sync_rewards": until(2, TEKU_GONE),
        "proposers": until(2, (503, "Service unavailable")),
        "proposers_v2": until(2, (503, "Service unavailable")),
        "attesters": until(1, TEKU_SYNCING),
        "liveness": for_ever((400, "Validator liveness tracking is not enabled")),
    },
    "prysm": {
        **dict.fromkeys(REQUESTS, for_ever()),
        "empty_slot": for_ever((404, "Block not found: no blocks found at slot 125")),
        "attestation_rewards": until(
            1, OK, first=(404, "Attestation rewards are available after two epoch transitions")
        ),
    },
    "nimbus": {
        **dict.fromkeys(REQUESTS, for_ever()),
        "empty_slot": for_ever((404, "Block header/data has not been found")),
        "attestation_rewards": for_ever(NO_ROUTE),
        "queues": for_ever(NO_ROUTE),
        "proposers_v2": for_ever(NO_ROUTE),
        "liveness": until(1, (400, "more than one epoch from current epoch")),
    },
    "grandine": {
        **dict.fromkeys(REQUESTS, for_ever()),
        "head_committees": until(1, (500, "internal error: epoch is before previous")),
        "empty_slot": for_ever((404, "block not found")),
        "attestation_rewards": for_ever(NO_ROUTE),
        "proposers_v2": for_ever(NO_ROUTE),
        "liveness": for_ever((500, "liveness tracking not enabled")),
    },
}

CELLS: Final = [
    (client, name, age, expected)
    for client, table in TABLES.items()
    for name, row in table.items()
    for age, expected in enumerate(row)
]


@pytest.fixture(scope="module")
def mainnet() -> Recording:
    return Recording.load(MAINNET)


@pytest.fixture(scope="module")
def nodes(mainnet: Recording) -> Callable[..., ReplayNode]:
    """Nodes of clients whose head is at a slot; finalized blocks are archived at once."""

    def node(client: str | None, head: int, **settings: Any) -> ReplayNode:
        clock = ManualClock()
        settings = {"archive_lag_slots": 0, **settings}
        made = ReplayNode(mainnet, live=True, now=clock, client=client, **settings)
        clock.move_to(made.clock, head)
        return made

    return node


Nodes = Callable[..., ReplayNode]


def head_at(age: int) -> int:
    """A slot at the beginning of an epoch, a block or two into it."""
    return FIRST + 32 * age + 2


@pytest.mark.parametrize(("client", "name", "age", "expected"), CELLS)
def test_a_request_is_answered_as_long_as_the_client_can(
    nodes: Nodes, client: str, name: str, age: int, expected: Expected
) -> None:
    reply = ask(nodes(client, head_at(age)), *REQUESTS[name])
    assert reply.status == expected[0], reply.text[:300]
    if expected == NO_ROUTE:
        assert reply.text == ""
    elif expected != OK:
        assert expected[1] in reply.json["message"]
        assert reply.json["code"] == expected[0]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_says_who_it_is(nodes: Nodes, client: str) -> None:
    version = ask(nodes(client, 200), "GET", "/eth/v1/node/version").json["data"]["version"]
    assert version.lower().startswith(f"{client}/")


def test_without_a_profile_everything_recorded_is_answered(nodes: Nodes) -> None:
    everything = set(REQUESTS) - {"empty_slot", "head_committees", "proposers_v2"}
    node = nodes(None, head_at(5))
    refused = {name for name in everything if ask(node, *REQUESTS[name]).status != 200}
    assert refused == set()


def test_answers_are_the_recorded_ones(nodes: Nodes) -> None:
    for client in CLIENTS:
        for name in ("committees", "first_block_rewards", "header"):
            given = ask(nodes(client, head_at(1)), *REQUESTS[name])
            assert given.text == ask(nodes(None, head_at(1)), *REQUESTS[name]).text


def test_an_unknown_client_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownClientError, match="'besu'; choose one of lodestar, lighthouse"):
        profile_of("besu")


# Nodes with an archive: only words, missing routes and oddities remain.

ARCHIVED: Final = {
    "lodestar": {
        "registry",
        "finality",
        "queues",
        "ssz",
        "header",
        "block",
        "blinded",
        "proposers",
        "proposers_v2",
        "head_sync_committee",
    },
    "lighthouse": set(REQUESTS) - {"empty_slot", "proposers_v2", "liveness"},
    "teku": set(REQUESTS) - {"empty_slot", "liveness"},
    "prysm": set(REQUESTS) - {"empty_slot"},
    "nimbus": set(REQUESTS)
    - {"empty_slot", "proposers_v2", "attestation_rewards", "queues", "liveness"},
    "grandine": set(REQUESTS)
    - {"empty_slot", "proposers_v2", "attestation_rewards", "head_committees", "liveness"},
}


@pytest.mark.parametrize("client", CLIENTS)
def test_an_archive_keeps_old_states(nodes: Nodes, client: str) -> None:
    node = nodes(client, head_at(5), archive=True)
    answered = {name for name, request in REQUESTS.items() if ask(node, *request).status == 200}
    assert answered == ARCHIVED[client]


def test_lodestars_archive_has_no_committees_and_no_states_of_empty_slots(nodes: Nodes) -> None:
    node = nodes("lodestar", head_at(5), archive=True)
    committees = ask(node, *REQUESTS["committees"])
    assert committees.status == 400
    assert committees.json["message"] == "No cached state available for stateId: 128"
    skipped = ask(node, "GET", "/eth/v1/beacon/states/137/validators")
    assert skipped.status == 500
    assert skipped.json["message"] == "Failed to generate historical state for slot 137"


# Oddities.


def test_past_proposer_duties_spoil_lodestars_sync_committee_for_ever(nodes: Nodes) -> None:
    node = nodes("lodestar", head_at(2))
    committee = REQUESTS["sync_committee"]
    assert ask(node, *committee).status == 200
    assert ask(node, *REQUESTS["proposers"]).status == 200
    spoilt = ask(node, *committee)
    assert (spoilt.status, spoilt.json["message"]) == (500, "Empty SyncCommitteeCache")
    assert ask(node, *REQUESTS["head_sync_committee"]).status == 200


def test_proposer_duties_of_the_previous_epoch_spoil_nothing(nodes: Nodes) -> None:
    node = nodes("lodestar", head_at(1))
    assert ask(node, *REQUESTS["proposers"]).status == 200
    assert ask(node, *REQUESTS["sync_committee"]).status == 200


def test_lodestar_does_not_find_just_finalized_blocks_by_slot(
    nodes: Nodes, mainnet: Recording
) -> None:
    root = mainnet.blocks[110].root
    by_slot, by_root = (
        ("GET", "/eth/v1/beacon/headers/110"),
        ("GET", f"/eth/v1/beacon/headers/{root}"),
    )
    for head, lag, status in ((191, 2, 200), (192, 2, 404), (193, 2, 404), (194, 2, 200)):
        node = nodes("lodestar", head, archive_lag_slots=lag)
        assert ask(node, *by_slot).status == status, head
        assert ask(node, *by_root).status == 200
    assert ask(nodes("lodestar", 192, archive_lag_slots=0), *by_slot).status == 200


def test_lodestar_has_no_rewards_of_an_epoch_whose_next_one_ends_empty(nodes: Nodes) -> None:
    for head in (97, 130):
        reply = ask(nodes("lodestar", head), "POST", "/eth/v1/beacon/rewards/attestations/1", [])
        assert (reply.status, reply.json["message"]) == (500, "State is unavailable for slot 95")


def test_what_was_not_recorded_is_refused_in_the_clients_words(nodes: Nodes) -> None:
    path = "/eth/v1/beacon/rewards/attestations/1"
    messages = {
        client: ask(nodes(client, 98), "POST", path, []).json["message"]
        for client in ("lighthouse", "teku", "prysm")
    }
    assert messages == {
        "lighthouse": "NOT_FOUND: missing state at slot 95",
        "teku": "Invalid epoch range. Latest available epoch for reward calculation is 1",
        "prysm": "State not found",
    }


@pytest.mark.parametrize(
    ("client", "status"),
    [("lodestar", 400), ("nimbus", 400), ("teku", 200), ("prysm", 200), ("lighthouse", 200)],
)
def test_duplicate_ids(nodes: Nodes, client: str, status: int) -> None:
    path = f"/eth/v1/beacon/states/{FIRST}/validators"
    node = nodes(client, head_at(0))
    assert ask(node, "GET", f"{path}?id=3&id=3").status == status
    assert ask(node, "POST", path, {"ids": ["3", "3"]}).status == status


def test_prysm_does_not_split_ids_at_commas(nodes: Nodes) -> None:
    path = f"/eth/v1/beacon/states/{FIRST}/validators"
    node = nodes("prysm", head_at(0))
    assert ask(node, "GET", f"{path}?id=3,5").status == 400
    assert len(ask(node, "GET", f"{path}?id=3&id=5").json["data"]) == 2
    assert len(ask(nodes("teku", head_at(0)), "GET", f"{path}?id=3,5").json["data"]) == 2


def test_one_unknown_index_refuses_all_rewards_on_prysm(nodes: Nodes) -> None:
    path = f"/eth/v1/beacon/rewards/attestations/{EPOCH}"
    refused = ask(nodes("prysm", head_at(2)), "POST", path, ["3", "320"])
    assert (refused.status, refused.json["message"]) == (
        400,
        "Validator index 320 is too large",
    )
    rows = ask(nodes("lighthouse", head_at(2)), "POST", path, ["3", "320"]).json["data"]
    assert rows["total_rewards"][1] == {
        "validator_index": "320",
        **dict.fromkeys(("head", "target", "source", "inclusion_delay", "inactivity"), "0"),
    }


def test_ideal_rewards_by_client(nodes: Nodes) -> None:
    def effective_balances(client: str) -> list[int]:
        path = f"/eth/v1/beacon/rewards/attestations/{EPOCH}"
        data = ask(nodes(client, head_at(2)), "POST", path, ["3"]).json["data"]
        return [int(row["effective_balance"]) // 10**9 for row in data["ideal_rewards"]]

    assert max(effective_balances("lodestar")) == 2048
    assert max(effective_balances("lighthouse")) == 2048
    assert effective_balances("teku") == list(range(33))
    assert effective_balances("prysm") == [32]


def test_a_seat_is_a_row_on_nimbus(nodes: Nodes) -> None:
    def rows(client: str) -> list[tuple[str, int]]:
        data = ask(nodes(client, head_at(0)), *REQUESTS["sync_rewards"]).json["data"]
        return [(row["validator_index"], int(row["reward"])) for row in data]

    seats, members = rows("nimbus"), rows("grandine")
    assert len(seats) == 512
    assert len(members) == len(dict(members)) < 320
    for index, reward in members:
        assert sum(amount for one, amount in seats if one == index) == reward
    assert len({abs(amount) for _, amount in seats}) == 1


def test_version_2_of_proposer_duties_has_the_root_that_fulu_depends_on(
    nodes: Nodes, mainnet: Recording
) -> None:
    """The recording has Fulu from epoch 3; what depends on what was seen on a real node."""
    node = nodes("prysm", head_at(2))
    for epoch, slot in ((2, 63), (3, 94), (4, 94), (5, 127)):
        first, second = (
            ask(node, "GET", f"/eth/v{version}/validator/duties/proposer/{epoch}").json
            for version in (1, 2)
        )
        assert second["data"] == first["data"]
        assert second["dependent_root"] == mainnet.blocks[slot].root


def test_nimbus_lists_validators_in_no_order(nodes: Nodes) -> None:
    path = f"/eth/v1/beacon/states/{FIRST}/validators"
    indices = [
        int(row["index"]) for row in ask(nodes("nimbus", head_at(0)), "GET", path).json["data"]
    ]
    assert indices != sorted(indices)
    assert sorted(indices) == list(range(320))


def test_nimbus_measures_its_distance_to_the_wall_clock(nodes: Nodes) -> None:
    for client, distance in (("nimbus", "1"), ("teku", "0")):
        syncing = ask(nodes(client, 137), "GET", "/eth/v1/node/syncing").json["data"]
        assert (syncing["head_slot"], syncing["sync_distance"]) == ("136", distance)


def test_teku_lists_no_sync_duties_of_a_past_period(recording: Recording) -> None:
    node = ReplayNode(recording, live=True, start_slot=300, now=ManualClock(), client="teku")
    members = ask(node, "GET", "/eth/v1/beacon/states/head/sync_committees").json["data"]
    some = members["validators"][:1]
    current = ask(node, "POST", "/eth/v1/validator/duties/sync/37", some)
    assert [row["validator_index"] for row in current.json["data"]] == some
    past = ask(node, "POST", "/eth/v1/validator/duties/sync/30", some)
    assert (past.status, past.json["data"]) == (200, [])


@pytest.mark.parametrize(
    ("client", "finalized", "recent"), [("lighthouse", 500, 200), ("prysm", 400, 400)]
)
def test_full_blocks_need_an_execution_layer(
    nodes: Nodes, client: str, finalized: int, recent: int
) -> None:
    node = nodes(client, head_at(2), execution_layer=False)
    assert ask(node, *REQUESTS["block"]).status == finalized
    assert ask(node, "GET", f"/eth/v2/beacon/blocks/{FIRST + 40}").status == recent
    blinded = ask(node, *REQUESTS["blinded"]).json["data"]["message"]["body"]
    assert "execution_payload" not in blinded
    assert not {"withdrawals", "transactions"} & blinded["execution_payload_header"].keys()


@pytest.mark.parametrize("client", CLIENTS)
def test_states_in_ssz_say_their_version(nodes: Nodes, mainnet: Recording, client: str) -> None:
    reply = ask(nodes(client, head_at(0)), *REQUESTS["ssz"])
    state = mainnet.states.at(FIRST)
    assert state is not None
    assert reply.content == state.content()
    assert reply.headers["eth-consensus-version"] == "fulu"
    assert ("eth-execution-optimistic" in reply.headers) == (client == "lodestar")


def test_states_in_ssz_by_name(nodes: Nodes) -> None:
    node = nodes("teku", 160)
    head = ask(node, "GET", "/eth/v2/debug/beacon/states/head")
    by_slot = ask(node, "GET", "/eth/v2/debug/beacon/states/160")
    assert head.content == by_slot.content != b""
    finalized = ask(node, "GET", "/eth/v2/debug/beacon/states/finalized")
    assert finalized.content == ask(node, "GET", "/eth/v2/debug/beacon/states/96").content
    assert ask(node, "GET", "/eth/v2/debug/beacon/states/159").status == 200
    assert ask(node, "GET", "/eth/v2/debug/beacon/states/158").status == 404


@pytest.mark.parametrize("client", CLIENTS)
def test_nothing_is_known_of_what_is_ahead(nodes: Nodes, client: str) -> None:
    node = nodes(client, 140)
    for path in (
        "/eth/v1/beacon/states/160/validators",
        "/eth/v1/beacon/headers/141",
        "/eth/v1/beacon/states/head/committees?epoch=6",
        "/eth/v1/validator/duties/proposer/7",
        "/eth/v2/debug/beacon/states/159",
    ):
        assert ask(node, "GET", path).status >= 400, path


def test_a_profile_can_be_used_on_the_devnet_of_old(recording: Recording) -> None:
    clock = ManualClock()
    node = ReplayNode(recording, live=True, now=clock, client="lighthouse")
    finalized = {}
    for slot in (100, 130, 200):
        clock.move_to(node.clock, slot)
        finalized[slot] = node.view.finalized_slot
        first = finalized[slot]
        assert ask(node, "GET", f"/eth/v1/beacon/states/{first}/validators").status == 200
        gone = ask(node, "GET", f"/eth/v1/beacon/states/{first - 8}/validators")
        assert (gone.status, gone.json["stacktraces"]) == (404, [])
    assert finalized[200] == 16 * 8, "finality stalls"


def test_a_stopped_chain_has_the_finality_of_its_head(mainnet: Recording) -> None:
    node = ReplayNode(mainnet, client="teku")
    assert node.view.finalized_slot == 32 * 8
    assert ask(node, "GET", "/eth/v1/beacon/states/256/validators").status == 200
    assert ask(node, "GET", "/eth/v1/beacon/states/224/validators").status == 404


# A real node's answers by age.


def _by_age() -> Iterator[tuple[dict[str, Any], str, str, str, object, object]]:
    """Each recorded cell: its row, name, method, path, body, and what the node answered."""
    for line in BY_AGE.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        epoch, first, last = row["E"], 8 * row["E"], 8 * row["E"] + 15
        states = f"/eth/v1/beacon/states/{first}"
        plain = {
            "committees": f"{states}/committees?epoch={epoch}",
            "sync_committees": f"{states}/sync_committees?epoch={epoch}",
            "validators": f"{states}/validators",
            "balances": f"{states}/validator_balances",
            "debug_state": f"/eth/v2/debug/beacon/states/{last}",
        }
        for name, path in plain.items():
            yield row, name, "GET", path, None, row[name]
        rewards = "/eth/v1/beacon/rewards"
        yield row, "att_rewards", "POST", f"{rewards}/attestations/{epoch}", [], row["att_rewards"]
        for offset, seen in enumerate(row["block_rewards"]):
            yield row, "block_rewards", "GET", f"{rewards}/blocks/{first + offset}", None, seen
        for offset, seen in enumerate(row["sync_rewards"]):
            path = f"{rewards}/sync_committee/{first + offset}"
            yield row, "sync_rewards", "POST", path, [], seen


def test_lodestars_profile_is_what_a_real_node_answered() -> None:
    """One epoch's committees differ: older states asked for before had filled the node's cache."""
    different = set()
    compared = 0
    for row, name, method, path, body, seen in _by_age():
        node = _node_of_full_slots(row["head"], row["finalized"])
        expected = seen if isinstance(seen, list) else [seen, ""]
        refused = node.refusal(question(method, path, body))
        status = 200 if refused is None else refused.status
        compared += 1
        if status != expected[0]:
            different.add((name, row["head"], row["E"]))
        elif refused is not None and name != "debug_state":
            # The recorded texts are cut off, and roots are another chain's.
            message = json.loads(refused.body)["message"]
            assert message.split("0x")[0] == str(expected[1]).split("0x")[0]
    assert compared > 500
    assert different == {("committees", 32, 2), ("committees", 36, 2)}


def _node_of_full_slots(head: int, finalized: int) -> ProfiledNode:
    """A Lodestar node of a chain of 8 slots an epoch that all have blocks."""

    def exchange(path: str, data: object) -> Exchange:
        line = {"method": "GET", "path": path, "status": 200, "body": {"data": data}}
        return msgspec.convert(
            {**line, "body": msgspec.Raw(msgspec.json.encode(line["body"]))}, Exchange
        )

    def header(slot: int) -> dict[str, object]:
        message = {"slot": str(slot), "parent_root": _root(slot - 1), "state_root": _root(slot)}
        return {"root": _root(slot), "header": {"message": message}}

    checkpoint = {"epoch": str(finalized), "root": _root(8 * finalized)}
    spec = {"SLOTS_PER_EPOCH": "8", "EPOCHS_PER_SYNC_COMMITTEE_PERIOD": "8"}
    recording = Recording(
        [
            exchange("/eth/v1/config/spec", spec),
            *(exchange(f"/eth/v1/beacon/headers/{slot}", header(slot)) for slot in range(head + 1)),
            exchange(
                f"/eth/v1/beacon/states/{head}/finality_checkpoints",
                dict.fromkeys(("previous_justified", "current_justified", "finalized"), checkpoint),
            ),
        ]
    )
    view = ChainView(recording, StoppedClock(head), has_finality=True)
    return ProfiledNode(profile_of("lodestar"), view, NodeSettings(archive_lag_slots=0))


def _root(slot: int) -> str:
    return f"0x{max(slot + 1, 0):064x}"
