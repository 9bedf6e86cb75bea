"""Whole states in SSZ: equal to the JSON of the same chain, and refused when anything is wrong."""

from __future__ import annotations

import json
import re
import struct
import tracemalloc
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valmon_pipeline.beacon.columns import FieldError
from valmon_pipeline.beacon.state_ssz.decode import ExpectedState, decode_state, fork_of_version
from valmon_pipeline.beacon.state_ssz.layout import state_layout
from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.chain.epochs import FAR_FUTURE_EPOCH
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.devnet.simulator import Simulation, config
from valmon_pipeline.devnet.simulator.incidents import (
    Consolidation,
    Deposit,
    PartialWithdrawalRequest,
    ProposerSlashing,
)
from valmon_pipeline.devnet.simulator.state_ssz import encode_state
from valmon_pipeline.errors import ChainRuleViolationError, UnsupportedForkError
from valmon_pipeline_tests.recordings import STATE_SLOTS, answers, state_bytes, state_version

SMALLEST = 8
"""The slot of the recorded state that is damaged below."""


def data(path: str) -> Any:
    return json.loads(answers()[path].content)["data"]


@cache
def recorded_spec() -> ChainSpec:
    return ChainSpec.from_config(data("/eth/v1/config/spec"))


def genesis_root() -> bytes:
    return bytes.fromhex(data("/eth/v1/beacon/genesis")["genesis_validators_root"][2:])


def expected(slot: int, least_validators: int = 1) -> ExpectedState:
    return ExpectedState(slot, genesis_root(), least_validators)


@cache
def recorded_state(slot: int) -> BeaconState:
    fork = fork_of_version(state_version(slot))
    return decode_state(recorded_spec(), fork, state_bytes(slot), expected(slot))


def decode_damaged(content: bytes, spec: ChainSpec | None = None) -> BeaconState:
    return decode_state(spec or recorded_spec(), Fork.DENEB, content, expected(SMALLEST))


def with_bytes(at: int, new: bytes) -> bytes:
    content = bytearray(state_bytes(SMALLEST))
    content[at : at + len(new)] = new
    return bytes(content)


def place(name: str) -> int:
    return state_layout(recorded_spec(), Fork.DENEB).places[name].at


@pytest.mark.parametrize("slot", STATE_SLOTS)
def test_validators_and_balances_equal_the_json_of_the_same_state(slot: int) -> None:
    state = recorded_state(slot)
    rows = sorted(data(f"/eth/v1/beacon/states/{slot}/validators"), key=lambda r: int(r["index"]))
    assert len(state) == len(rows) >= 128
    assert state.balances.tolist() == [int(row["balance"]) for row in rows]
    for name in (
        "effective_balance",
        "activation_eligibility_epoch",
        "activation_epoch",
        "exit_epoch",
        "withdrawable_epoch",
    ):
        assert state.validators[name].tolist() == [int(row["validator"][name]) for row in rows]
    assert state.validators["slashed"].tolist() == [row["validator"]["slashed"] for row in rows]
    for name in ("pubkey", "withdrawal_credentials"):
        found = ["0x" + bytes(row).hex() for row in state.validators[name]]
        assert found == [row["validator"][name] for row in rows]


@pytest.mark.parametrize("slot", STATE_SLOTS)
def test_the_chain_around_it_equals_the_json(slot: int) -> None:
    state = recorded_state(slot)
    assert state.fork is (Fork.DENEB if slot < 32 else Fork.ELECTRA)
    assert state.genesis_time == int(data("/eth/v1/beacon/genesis")["genesis_time"])
    for name, found in (
        ("previous_justified", state.checkpoints.previous_justified),
        ("current_justified", state.checkpoints.current_justified),
        ("finalized", state.checkpoints.finalized),
    ):
        known = data(f"/eth/v1/beacon/states/{slot}/finality_checkpoints")[name]
        assert (found.epoch, "0x" + found.root.hex()) == (int(known["epoch"]), known["root"])
    root: str | None = None
    for earlier in range(max(slot - 64, 8), slot):
        header = answers().get(f"/eth/v1/beacon/headers/{earlier}")
        root = root if header is None else json.loads(header.content)["data"]["root"]
        if root is not None:
            assert "0x" + bytes(state.block_roots[earlier % 64]).hex() == root
    randao = data(f"/eth/v1/beacon/states/{slot}/randao")["randao"]
    assert "0x" + bytes(state.randao_mixes[slot // 8 % 64]).hex() == randao


def test_slashings_and_queues_hold_what_happened_on_the_recorded_chain() -> None:
    for slot in STATE_SLOTS:
        state = recorded_state(slot)
        slashed = state.validators["slashed"] == 1
        assert np.flatnonzero(slashed).tolist() == (
            [] if slot < 48 else [100] if slot < 56 else [100, 121, 122]
        )
        balances = state.validators["effective_balance"][slashed]
        assert int(state.slashings.sum()) == 32_000_000_000 * len(balances)
        assert state.proposer_lookahead is None
        if slot < 32:
            assert state.pending_deposits is None
            assert state.pending_partial_withdrawals is None
            assert state.pending_consolidations is None
    last = recorded_state(112)
    assert last.pending_consolidations is not None
    assert last.pending_consolidations.tolist() == [(25, 33)]
    assert last.pending_partial_withdrawals is not None
    assert last.pending_partial_withdrawals["validator_index"].tolist() == [9]
    deposited = recorded_state(48).pending_deposits
    assert deposited is not None
    key_of_5 = bytes(last.validators["pubkey"][5])
    key_of_128 = bytes(last.validators["pubkey"][128])
    assert [
        (bytes(row["pubkey"]), int(row["amount"]), int(row["slot"])) for row in deposited[-2:]
    ] == [(key_of_128, 32_000_000_000, 43), (key_of_5, 1_000_000_000, 43)]


@cache
def simulated(preset: str) -> Simulation:
    minimal = preset == "minimal"
    simulation = Simulation(
        config(preset, electra_epoch=0, fulu_epoch=3 if minimal else 1),
        128,
        seed=9,
        incidents=[
            ProposerSlashing(12, 100),
            Deposit(20),
            Consolidation(21, 10, 9),
            PartialWithdrawalRequest(22, 9, 1),
        ],
    )
    simulation.advance_to(32 if minimal else 64)
    return simulation


@pytest.mark.parametrize(
    ("preset", "slot", "fork"),
    [
        ("minimal", 23, Fork.ELECTRA),
        ("minimal", 31, Fork.FULU),
        ("mainnet", 31, Fork.ELECTRA),
        ("mainnet", 32, Fork.FULU),
        ("mainnet", 63, Fork.FULU),
    ],
)
def test_states_of_every_preset_and_fork_equal_the_simulated_chain(
    preset: str, slot: int, fork: Fork
) -> None:
    simulation = simulated(preset)
    record, spec = simulation.record(slot), ChainSpec.from_config(simulation.config)
    content = encode_state(simulation, record, 1234)
    root = simulation.entropy.bytes(32, "genesis validators")
    state = decode_state(spec, fork, content, ExpectedState(slot, root, len(record)))
    for name in ("effective_balance", "slashed"):
        assert state.validators[name].tolist() == record.column(name).astype(int).tolist()
    exits = np.minimum(state.validators["exit_epoch"], np.uint64(2**63 - 1)).astype(np.int64)
    assert exits.tolist() == record.column("exit_epoch").tolist()
    assert state.balances.tolist() == record.column("balance").tolist()
    assert state.inactivity_scores.tolist() == record.column("inactivity_score").tolist()
    assert record.participation is not None
    assert state.previous_epoch_participation.tolist() == record.participation[0].tolist()
    assert state.current_epoch_participation.tolist() == record.participation[1].tolist()
    assert state.slashings.tolist() == record.slashings.tolist()
    assert state.checkpoints.finalized.epoch == record.finalized.epoch
    assert state.justification_bits == sum(
        bit << number for number, bit in enumerate(record.scalars.justification_bits)
    )
    assert state.pending_deposits is not None
    assert state.pending_deposits["amount"].tolist() == [
        entry.amount for entry in record.pending_deposits
    ]
    assert state.pending_consolidations is not None
    assert state.pending_consolidations.tolist() == [
        (entry.source_index, entry.target_index) for entry in record.pending_consolidations
    ]
    assert state.pending_partial_withdrawals is not None
    assert state.pending_partial_withdrawals.tolist() == [
        (entry.validator_index, entry.amount, entry.withdrawable_epoch)
        for entry in record.pending_partial_withdrawals
    ]
    if fork is Fork.FULU:
        epoch = spec.epoch_of(slot)
        assert state.proposer_lookahead is not None
        assert state.proposer_lookahead.tolist() == [
            *record.proposers[epoch].tolist(),
            *record.proposers[epoch + 1].tolist(),
        ]


def test_nothing_is_copied() -> None:
    before = np.frombuffer(state_bytes(48), np.uint8)
    state = recorded_state(48)
    for name in ("validators", "balances", "inactivity_scores", "slashings", "pending_deposits"):
        view = getattr(state, name)
        assert len(view)
        assert not view.flags.writeable
        assert np.shares_memory(view.view(np.uint8), before)


def test_a_state_cut_off_at_any_byte_is_refused() -> None:
    content = state_bytes(SMALLEST)
    fixed_size = state_layout(recorded_spec(), Fork.DENEB).fixed_size
    # Every length around the borders of fields, and a sample of the others.
    lengths = {*range(0, fixed_size, 501), *range(fixed_size - 5, len(content), 97)}
    lengths |= set(range(len(content) - 200, len(content)))
    for length in sorted(lengths):
        with pytest.raises(FieldError, match=r"\(size\)|\(offset\)|\(rows\)"):
            decode_damaged(content[:length])


def test_a_state_of_another_fork_is_refused_by_what_the_header_and_the_state_say() -> None:
    with pytest.raises(FieldError, match=r"Eth-Consensus-Version.*'electra', expected deneb"):
        decode_state(recorded_spec(), Fork.ELECTRA, state_bytes(SMALLEST), expected(SMALLEST))
    with pytest.raises(FieldError, match=r"fork.current_version is '0x05000001', expected 0x04"):
        decode_damaged(with_bytes(place("fork") + 4, bytes.fromhex("05000001")))
    with pytest.raises(FieldError, match=r"fork\.epoch is 3, expected 0, DENEB_FORK_EPOCH"):
        decode_damaged(with_bytes(place("fork") + 8, struct.pack("<Q", 3)))


def test_forks_without_a_known_layout_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedForkError, match="fork 'heze'"):
        fork_of_version("heze")
    with pytest.raises(FieldError, match=r"Eth-Consensus-Version \(header\) is None"):
        fork_of_version(None)
    for fork in (Fork.CAPELLA, Fork.GLOAS):
        with pytest.raises(UnsupportedForkError, match=f"fork {fork.name.lower()} cannot be read"):
            state_layout(recorded_spec(), fork)


def test_a_state_of_another_network_or_slot_is_refused() -> None:
    with pytest.raises(FieldError, match="genesis_validators_root is '0xff"):
        decode_damaged(with_bytes(place("genesis_validators_root"), b"\xff" * 32))
    with pytest.raises(FieldError, match="slot is 9, expected 8, as was asked for"):
        decode_damaged(with_bytes(place("slot"), struct.pack("<Q", 9)))


@pytest.mark.parametrize(
    ("name", "offset", "message"),
    [
        ("historical_roots", 17, r"historical_roots \(offset\) is 17, expected 10253"),
        ("validators", 10252, r"validators \(offset\) is 10252, expected an offset from"),
        ("balances", 2**32 - 1, r"balances \(offset\) is 4294967295, expected an offset from"),
        ("balances", 10685 + 121 * 3 + 5, r"validators \(size\) .* a multiple of 121 bytes"),
    ],
)
def test_offsets_outside_decreasing_or_within_a_row_are_refused(
    name: str, offset: int, message: str
) -> None:
    with pytest.raises(FieldError, match=message):
        decode_damaged(with_bytes(place(name), struct.pack("<I", offset)))


def test_lists_of_different_length_are_refused() -> None:
    content = state_bytes(SMALLEST)
    start = struct.unpack_from("<I", content, place("balances"))[0]
    shifted = bytearray(content[:start] + content[start + 8 :])
    names = [
        known
        for known, where in state_layout(recorded_spec(), Fork.DENEB).places.items()
        if where.row_size
    ]
    for name in names[names.index("balances") + 1 :]:
        (offset,) = struct.unpack_from("<I", content, place(name))
        struct.pack_into("<I", shifted, place(name), offset - 8)
    with pytest.raises(FieldError, match=r"balances \(rows\) is 127, expected 128"):
        decode_damaged(bytes(shifted))


def test_a_registry_that_shrank_is_refused() -> None:
    content, spec = state_bytes(SMALLEST), recorded_spec()
    with pytest.raises(FieldError, match=r"validators \(rows\) is 128, expected at least 129"):
        decode_state(spec, Fork.DENEB, content, expected(SMALLEST, least_validators=129))
    most = ExpectedState(SMALLEST, genesis_root(), most_validators=127)
    with pytest.raises(FieldError, match=r"validators \(rows\) is 128, expected at most 127"):
        decode_state(spec, Fork.DENEB, content, most)


def test_values_that_no_state_can_have_are_refused() -> None:
    content = state_bytes(SMALLEST)
    (flags,) = struct.unpack_from("<I", content, place("previous_epoch_participation"))
    with pytest.raises(FieldError, match=r"previous_epoch_participation\[5\] is 8, expected"):
        decode_damaged(with_bytes(flags + 5, b"\x08"))
    (registry,) = struct.unpack_from("<I", content, place("validators"))
    with pytest.raises(FieldError, match=r"validators\[2\].slashed is 2, expected"):
        decode_damaged(with_bytes(registry + 2 * 121 + 88, b"\x02"))


def test_a_constant_the_layout_needs_and_the_node_does_not_list_is_named() -> None:
    listed = {k: v for k, v in data("/eth/v1/config/spec").items() if "HISTORICAL_ROOT" not in k}
    with pytest.raises(ChainRuleViolationError, match="does not list SLOTS_PER_HISTORICAL_ROOT"):
        state_layout(ChainSpec.from_config(listed), Fork.DENEB)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(state_bytes(SMALLEST)) - 1), st.binary(max_size=8)),
        max_size=6,
    ),
    st.integers(0, len(state_bytes(SMALLEST))),
)
def test_damaged_bytes_are_read_or_refused_and_never_anything_else(
    damage: list[tuple[int, bytes]], length: int
) -> None:
    content = bytearray(state_bytes(SMALLEST))
    for at, new in damage:
        content[at : at + len(new)] = new
    refused = None
    try:
        state = decode_damaged(bytes(content[:length]))
    except FieldError as error:
        refused = str(error)
    if refused is None:
        assert len(state) == len(state.balances) == len(state.inactivity_scores)
    else:
        assert re.match(r"field .+ is .+, expected .+", refused)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_offsets_take_no_memory(data: st.DataObject) -> None:
    places = state_layout(recorded_spec(), Fork.DENEB).places
    name = data.draw(st.sampled_from([known for known, one in places.items() if one.row_size]))
    offset = data.draw(st.integers(0, 2**32 - 1))
    content = with_bytes(places[name].at, struct.pack("<I", offset))
    tracemalloc.start()
    try:
        with suppress(FieldError):
            decode_damaged(content)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1 << 20


def test_an_epoch_that_was_never_set_stays_far_in_the_future() -> None:
    assert int(recorded_state(8).validators["exit_epoch"][0]) == FAR_FUTURE_EPOCH
