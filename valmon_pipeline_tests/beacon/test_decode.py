"""Answers that break the API's promises are refused by endpoint, field and value."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.beacon import decode
from valmon_pipeline.chain.blocks import (
    ConsolidationRequest,
    Deposit,
    Withdrawal,
    WithdrawalRequest,
)
from valmon_pipeline.chain.epochs import FAR_FUTURE_EPOCH, NEVER
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.errors import MalformedAnswerError, NodeNotReadyError, UnsupportedForkError

ROOT = "0x" + "ab" * 32
WHERE = "GET /eth/v1/some/endpoint of http://node"

CHECKPOINT = {"epoch": "3", "root": ROOT}
VALIDATOR = {
    "index": "7",
    "balance": "32000000001",
    "status": "active_ongoing",
    "validator": {
        "pubkey": "0x" + "0f" * 48,
        "withdrawal_credentials": "0x01" + "00" * 31,
        "effective_balance": "32000000000",
        "slashed": False,
        "activation_eligibility_epoch": "0",
        "activation_epoch": "5",
        "exit_epoch": str(FAR_FUTURE_EPOCH),
        "withdrawable_epoch": str(FAR_FUTURE_EPOCH),
    },
}
ADDRESS, PUBKEY = "0x" + "0a" * 20, "0x" + "0b" * 48
DEPOSIT = {
    "pubkey": PUBKEY,
    "withdrawal_credentials": "0x" + "0c" * 32,
    "amount": "18446744073",
    "signature": "0x" + "0d" * 96,
}
ATTESTATION = {
    "aggregation_bits": "0x1f",
    "committee_bits": "0x01",
    "data": {
        "slot": "40",
        "index": "0",
        "beacon_block_root": ROOT,
        "source": CHECKPOINT,
        "target": CHECKPOINT,
    },
}
BLOCK = {
    "message": {
        "slot": "41",
        "proposer_index": "9",
        "parent_root": ROOT,
        "body": {
            "attestations": [ATTESTATION],
            "proposer_slashings": [{"signed_header_1": {"message": {
                "slot": "1", "proposer_index": "100", "parent_root": ROOT}}}],
            "attester_slashings": [{
                "attestation_1": {"attesting_indices": ["1", "2", "3"]},
                "attestation_2": {"attesting_indices": ["2", "3", "4"]},
            }],
            "deposits": [],
            "voluntary_exits": [{"message": {"epoch": "5", "validator_index": "6"}}],
            "bls_to_execution_changes": [{"message": {"validator_index": "8"}}],
            "sync_aggregate": {"sync_committee_bits": "0xffffffff"},
            "execution_payload": {"withdrawals": [
                {"index": "70", "validator_index": "7", "address": ADDRESS, "amount": "12"}]},
            "execution_requests": {
                "deposits": [DEPOSIT],
                "withdrawals": [
                    {"source_address": ADDRESS, "validator_pubkey": PUBKEY, "amount": "0"}],
                "consolidations": [{
                    "source_address": ADDRESS, "source_pubkey": PUBKEY, "target_pubkey": PUBKEY}],
            },
        },
    }
}  # fmt: skip
REWARD = {"validator_index": "0", "head": "1", "target": "-2", "source": "3", "inactivity": "-4"}
IDEAL = {"effective_balance": "1000000000", "head": "1", "target": "2", "source": "3"}
REWARDS = {"total_rewards": [REWARD], "ideal_rewards": [IDEAL]}
BLOCK_REWARDS = {
    "proposer_index": "5",
    "total": "10",
    "attestations": "7",
    "sync_aggregate": "3",
    "proposer_slashings": "0",
    "attester_slashings": "0",
}


def answer(data: object, **envelope: object) -> bytes:
    return msgspec.json.encode({"data": data, **envelope})


def changed(data: Any, path: list[str | int], value: object) -> Any:
    """A copy with the value at ``path`` replaced, or the field left out for ``...``."""
    data = json.loads(json.dumps(data))
    inner = data
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return data


def block(content: bytes) -> object:
    return decode.block(content, "electra")


FAULTS: list[tuple[Callable[[bytes], object], Any, list[str | int], object, str]] = [
    (decode.validators, [VALIDATOR], [0, "balance"], "-1", r"data\[0\]\.balance is -1, expected a"),
    (decode.validators, [VALIDATOR], [0, "balance"], "many", r"data\[0\]\.balance.*'many'"),
    (decode.validators, [VALIDATOR], [0, "balance"], ..., r"missing required field `balance`"),
    (decode.validators, [VALIDATOR], [0, "balance"], str(2**63), rf"balance is {2**63}, expected"),
    (decode.validators, [VALIDATOR], [0, "balance"], 1.5, r"data\[0\]\.balance is 1.5"),
    (decode.validators, [VALIDATOR], [0, "balance"], "1.0", r"data\[0\]\.balance is 1.0"),
    (decode.validators, [VALIDATOR], [0, "balance"], "1e3", r"data\[0\]\.balance is 1000.0"),
    (decode.validators, [VALIDATOR], [0, "balance"], None, r"data\[0\]\.balance"),
    (decode.validators, [VALIDATOR], [0, "balance"], True, r"data\[0\]\.balance"),
    (decode.validators, [VALIDATOR], [0, "index"], "-7", r"data\[0\]\.index is -7"),
    (decode.validators, [VALIDATOR], [0, "validator", "exit_epoch"], str(2**64),
     r"data\[0\]\.validator\.exit_epoch is 18446744073709551616, expected an epoch"),
    (decode.validators, [VALIDATOR], [0, "validator", "exit_epoch"], str(2**63), r"exit_epoch"),
    (decode.validators, [VALIDATOR], [0, "validator", "exit_epoch"], "-1", r"exit_epoch is -1"),
    (decode.validators, [VALIDATOR], [0, "validator", "exit_epoch"], "7.0", r"exit_epoch is 7.0"),
    (decode.validators, [VALIDATOR], [0, "validator", "slashed"], "perhaps", r"slashed"),
    (decode.validators, [VALIDATOR], [0, "validator", "pubkey"], "0x12", r"pubkey .* 48 bytes"),
    (decode.validators, [VALIDATOR], [0, "validator", "pubkey"], "0x" + "zz" * 48, r"pubkey"),
    (decode.validators, [VALIDATOR], [0, "validator", "pubkey"], "é" * 98, r"pubkey"),
    (decode.genesis, {"genesis_time": "1", "genesis_validators_root": ROOT,
                      "genesis_fork_version": "0x00000001"},
     ["genesis_validators_root"], "0x00", r"data\.genesis_validators_root is '0x00'"),
    (decode.syncing, {"head_slot": "1", "sync_distance": "0", "is_syncing": False},
     ["head_slot"], "-1", r"data\.head_slot is -1"),
    (decode.finality_checkpoints,
     {"previous_justified": CHECKPOINT, "current_justified": CHECKPOINT, "finalized": CHECKPOINT},
     ["finalized", "epoch"], 2.0, r"data\.finalized\.epoch is 2.0"),
    (block, BLOCK, ["message", "slot"], "41.0", r"data\.message\.slot is 41.0"),
    (block, BLOCK, ["message", "body", "attestations", 0, "aggregation_bits"], "1f",
     r"attestations\[0\]\.aggregation_bits is '1f'"),
    (block, BLOCK, ["message", "body", "attestations", 0, "aggregation_bits"], "0x1 f", r"bits"),
    (block, BLOCK, ["message", "body", "attestations", 0, "committee_bits"], ...,
     r"committee_bits is None, expected a value in a block of ELECTRA"),
    (block, BLOCK, ["message", "body", "attestations", 0, "data", "target", "root"], "0xab",
     r"target\.root is '0xab', expected 32 bytes"),
    (block, BLOCK, ["message", "body", "sync_aggregate"], ..., r"sync_aggregate is None"),
    (block, BLOCK, ["message", "body", "execution_requests"], ...,
     r"body\.execution_requests is None, expected a value in a block of ELECTRA"),
    (block, BLOCK, ["message", "body", "execution_payload", "withdrawals"], ...,
     r"body\.execution_payload\.withdrawals is None"),
    (block, BLOCK, ["message", "body", "execution_payload", "withdrawals", 0, "amount"], "-1",
     r"withdrawals\[0\]\.amount is -1, expected a non-negative integer"),
    (block, BLOCK, ["message", "body", "voluntary_exits", 0, "message", "validator_index"], 1.5,
     r"voluntary_exits\[0\]\.message\.validator_index is 1.5"),
    (block, BLOCK, ["message", "body", "execution_requests", "deposits", 0, "pubkey"], "0x0b",
     r"execution_requests\.deposits\[0\]\.pubkey is '0x0b', expected 48 bytes"),
    (block, BLOCK, ["message", "body", "execution_requests", "withdrawals", 0, "amount"], "x",
     r"execution_requests\.withdrawals\[0\]\.amount"),
    (block, BLOCK, ["message", "body", "execution_requests", "consolidations", 0, "target_pubkey"],
     PUBKEY[:-1], r"consolidations\[0\]\.target_pubkey"),
    (decode.pending_deposits, [DEPOSIT | {"slot": "3"}], [0, "signature"], "0x",
     r"data\[0\]\.signature is '0x', expected 96 bytes"),
    (decode.pending_consolidations, [{"source_index": "1", "target_index": "2"}],
     [0, "source_index"], "-1", r"data\[0\]\.source_index is -1"),
    (decode.committees, [{"index": "0", "slot": "8", "validators": ["1", "-2"]}],
     [0, "index"], "0", r"number 1 is -2"),
    (decode.committees, [{"index": "0", "slot": "8", "validators": ["1", "1"]}],
     [0, "index"], "0", r"1"),
    (decode.sync_committee, {"validators": ["1", "2"]}, ["validators", 1], "x", r"validators\[1\]"),
    (decode.proposer_duties, [{"slot": "8", "validator_index": "1"},
                              {"slot": "9", "validator_index": "2"}],
     [1, "slot"], "8", r"slot is 8, expected each value once"),
    (decode.attestation_rewards, REWARDS, ["total_rewards", 0, "source"], "207519.375",
     r"data\.total_rewards\[0\]\.source is 207519.375, expected an integer"),
    (decode.attestation_rewards, REWARDS, ["total_rewards", 0, "head"], "7.0", r"head is 7.0"),
    (decode.attestation_rewards, REWARDS, ["total_rewards", 0, "head"], "1e3", r"head is 1000.0"),
    (decode.attestation_rewards, REWARDS, ["total_rewards", 0, "head"], ..., r"total_rewards\[0\]"),
    (decode.attestation_rewards, REWARDS, ["total_rewards", 0, "head"], str(-(2**63) - 1), "head"),
    (decode.attestation_rewards, REWARDS, ["total_rewards", 0, "validator_index"], "-1",
     r"data\.total_rewards\[0\]\.validator_index is -1"),
    (decode.attestation_rewards, REWARDS, ["total_rewards"], {}, r"data\.total_rewards"),
    (decode.attestation_rewards, REWARDS, ["ideal_rewards", 0, "head"], "-1",
     r"data\.ideal_rewards\[0\]\.head is -1"),
    (decode.block_rewards, BLOCK_REWARDS, ["total"], "11",
     r"data\.total is 11.*sum of its parts, 10"),
    (decode.block_rewards, BLOCK_REWARDS, ["attestations"], "-7", r"data\.attestations is -7"),
    (decode.sync_committee_rewards, [{"validator_index": "1", "reward": "5"}], [0, "reward"], "x",
     r"data\[0\]\.reward is 'x'"),
]  # fmt: skip


@pytest.mark.parametrize(("decoder", "data", "path", "value", "message"), FAULTS)
def test_a_wrong_field_is_refused_by_name(
    decoder: Callable[[bytes], object],
    data: Any,
    path: list[str | int],
    value: object,
    message: str,
) -> None:
    with pytest.raises(MalformedAnswerError, match=message) as raised:
        decode.decoded(decoder, answer(changed(data, path, value)), WHERE)
    assert WHERE in str(raised.value)


@pytest.mark.parametrize(
    ("decoder", "data"),
    [(decoder, data) for decoder, data, *_ in FAULTS if decoder is not decode.committees],
)
def test_the_same_answers_unchanged_are_accepted(
    decoder: Callable[[bytes], object], data: Any
) -> None:
    decode.decoded(decoder, answer(data), WHERE)


@pytest.mark.parametrize(
    "content",
    [b"", b'{"data": [{"index": "7", "bal', b"<html>busy</html>", b"\xff\xfe", b"[", b"{}"],
)
def test_what_is_not_a_whole_answer_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedAnswerError, match=WHERE):
        decode.decoded(decode.validators, content, WHERE)


@given(st.binary(max_size=200))
def test_bytes_are_an_answer_or_malformed_and_nothing_else(content: bytes) -> None:
    for decoder in (decode.validators, decode.attestation_rewards, block, decode.spec):
        with suppress(MalformedAnswerError):
            decode.decoded(decoder, content, WHERE)


@given(st.sampled_from(FAULTS), st.data())
def test_an_answer_cut_off_anywhere_is_refused(
    fault: tuple[Callable[[bytes], object], Any, list[str | int], object, str], data: st.DataObject
) -> None:
    decoder, wrong, path, value, _ = fault
    content = answer(changed(wrong, path, value))
    content = content[: data.draw(st.integers(0, len(content) - 1))]
    with pytest.raises(MalformedAnswerError):
        decode.decoded(decoder, content, WHERE)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["index", "validator", "epoch"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.sampled_from(FAULTS), json_values)
def test_any_json_in_any_field_is_accepted_or_refused_by_name(
    fault: tuple[Callable[[bytes], object], Any, list[str | int], object, str], value: object
) -> None:
    decoder, data, path, *_ = fault
    with suppress(MalformedAnswerError):
        decode.decoded(decoder, answer(changed(data, path, value)), WHERE)


def test_numbers_may_be_bare() -> None:
    quoted = [REWARD, changed(REWARD, ["validator_index"], "1")]
    bare = [{name: int(value) for name, value in row.items()} for row in quoted]
    rewards = [
        decode.attestation_rewards(answer({"total_rewards": rows, "ideal_rewards": []}))
        for rows in (quoted, bare)
    ]
    for name in ("validator_index", "source", "target", "head", "inactivity"):
        assert np.array_equal(getattr(rewards[0], name), getattr(rewards[1], name))
    assert rewards[0].target.tolist() == [-2, -2]


def test_rows_come_sorted_and_once() -> None:
    rows = [changed(VALIDATOR, ["index"], str(index)) for index in (9, 2, 9, 0)]
    registry = decode.validators(answer(rows))
    assert registry.validator_index.tolist() == [0, 2, 9]
    assert registry.exit_epoch.tolist() == [NEVER] * 3
    assert registry.activation_epoch.tolist() == [5] * 3
    assert registry.pubkey.shape == (3, 48)
    assert registry.withdrawal_credentials[0].tobytes() == b"\x01" + bytes(31)


def test_an_empty_registry_keeps_its_shape() -> None:
    registry = decode.validators(answer([]))
    assert len(registry) == 0
    assert registry.pubkey.shape == (0, 48)


def test_seats_of_a_validator_are_summed() -> None:
    rows = [(3, 5), (1, -5), (3, -5), (3, 5)]
    rewards = decode.sync_committee_rewards(
        answer([{"validator_index": str(index), "reward": str(gwei)} for index, gwei in rows])
    )
    assert rewards.validator_index.tolist() == [1, 3]
    assert rewards.reward.tolist() == [-5, 5]


def test_slot_0_has_no_proposer() -> None:
    duties = decode.proposer_duties(
        answer([{"slot": "1", "validator_index": "4"}, {"slot": "0", "validator_index": "0"}])
    )
    assert duties.slot.tolist() == [1]


def test_a_block_names_fork_and_slashed_validators() -> None:
    decoded = decode.block(answer(BLOCK, version="electra"))
    assert decoded.fork is Fork.ELECTRA
    assert decoded.slashed_indices == (2, 3, 100)
    assert decoded.operations.proposer_slashings == (100,)
    assert decoded.operations.attester_slashings == ((2, 3),)
    assert decoded.sync_committee_bits == b"\xff" * 4
    assert decoded.attestations[0].committee_bits == b"\x01"


def test_a_block_tells_what_it_does_to_validators() -> None:
    operations = decode.block(answer(BLOCK, version="electra")).operations
    pubkey, address = b"\x0b" * 48, b"\x0a" * 20
    assert operations.withdrawals == (Withdrawal(7, 12),)
    assert operations.voluntary_exits == (6,)
    assert operations.credential_changes == (8,)
    assert operations.deposits == ()
    assert operations.deposit_requests == (
        Deposit(pubkey, b"\x0c" * 32, 18446744073, b"\x0d" * 96),
    )
    assert operations.withdrawal_requests == (WithdrawalRequest(address, pubkey, 0),)
    assert operations.consolidation_requests == (ConsolidationRequest(address, pubkey, pubkey),)


def test_blocks_before_electra_credit_deposits_themselves() -> None:
    before = changed(BLOCK, ["message", "body", "execution_requests"], ...)
    before = changed(before, ["message", "body", "attestations"], [])
    before = changed(before, ["message", "body", "deposits"], [{"proof": [], "data": DEPOSIT}])
    operations = decode.block(answer(before, version="deneb")).operations
    assert [deposit.amount for deposit in operations.deposits] == [18446744073]
    assert operations.deposit_requests == ()


def test_blocks_before_capella_withdraw_nothing() -> None:
    before = changed(BLOCK, ["message", "body", "execution_requests"], ...)
    before = changed(before, ["message", "body", "attestations"], [])
    for part in ("execution_payload", "bls_to_execution_changes"):
        before = changed(before, ["message", "body", part], ...)
    operations = decode.block(answer(before, version="altair")).operations
    assert operations.withdrawals == ()
    assert operations.credential_changes == ()


def test_queues_keep_their_order() -> None:
    rows = [DEPOSIT | {"slot": "9"}, DEPOSIT | {"slot": "0", "amount": "1"}]
    queued = decode.pending_deposits(answer(rows))
    assert [(row.slot, row.deposit.amount) for row in queued] == [(9, 18446744073), (0, 1)]
    consolidations = decode.pending_consolidations(
        answer([{"source_index": "5", "target_index": "2"}])
    )
    assert (consolidations.source_index.tolist(), consolidations.target_index.tolist()) == (
        [5],
        [2],
    )


def test_the_header_names_the_fork_where_the_body_does_not() -> None:
    before = changed(BLOCK, ["message", "body", "attestations", 0, "committee_bits"], ...)
    assert decode.block(answer(before), "deneb").fork is Fork.DENEB
    with pytest.raises(MalformedAnswerError, match="version is None"):
        decode.decoded(decode.block, answer(before), WHERE)


def test_an_unknown_fork_is_an_error_of_its_own() -> None:
    with pytest.raises(UnsupportedForkError, match=f"{WHERE}.*'osaka'"):
        decode.decoded(decode.block, answer(BLOCK, version="osaka"), WHERE)


def test_an_optimistic_answer_is_not_used() -> None:
    with pytest.raises(NodeNotReadyError, match=f"{WHERE}.*execution_optimistic"):
        decode.decoded(decode.validators, answer([], execution_optimistic=True), WHERE)


def test_every_missing_parameter_of_the_chain_is_named() -> None:
    with pytest.raises(MalformedAnswerError, match=r"SLOTS_PER_EPOCH.*BASE_REWARD_FACTOR"):
        decode.decoded(decode.spec, answer({"CONFIG_NAME": "x"}), WHERE)
