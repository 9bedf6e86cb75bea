"""Blocks in SSZ: equal to the JSON of the same block, and refused when anything is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valmon_pipeline.beacon import decode
from valmon_pipeline.beacon.archive import read_exchanges
from valmon_pipeline.beacon.block_ssz.signed_block import BlockDecoder
from valmon_pipeline.beacon.columns import FieldError
from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.errors import UnsupportedForkError
from valmon_pipeline_tests.beacon.ssz_blocks import signed_block
from valmon_pipeline_tests.recordings import (
    RECORDING,
    SpecificationBlock,
    answers,
    specification_blocks,
)

FORKS = [fork for fork in Fork if fork <= Fork.FULU]
FULL_BLOCKS = [block for block in specification_blocks() if not block.blinded]


def config(**changed: object) -> dict[str, Any]:
    """The recorded parameters (preset ``minimal``), a fork every ten epochs.

    When they were recorded, a block could hold one consolidation.
    """
    recorded = json.loads(answers()["/eth/v1/config/spec"].content)["data"]
    epochs = {f"{fork.name}_FORK_EPOCH": str(10 * fork) for fork in FORKS[1:]}
    limit = {"MAX_CONSOLIDATION_REQUESTS_PER_PAYLOAD": "2"}
    return {**recorded, **limit, **epochs, **changed}


@cache
def spec() -> ChainSpec:
    return ChainSpec.from_config(config())


def spec_without_limits() -> ChainSpec:
    listed = {k: v for k, v in config().items() if k not in spec().block_limits}
    return ChainSpec.from_config(listed)


def decoded(block: SpecificationBlock) -> Block:
    return BlockDecoder(spec()).block(block.fork, block.ssz, blinded=block.blinded)


def from_json(data: Any, version: str, *, blinded: bool = False) -> Block:
    answer = json.dumps({"version": version, "data": data}).encode()
    return decode.block(answer, blinded=blinded)


def block_of(fork: Fork, elements: int = 1) -> SpecificationBlock:
    """The block of a fork whose lists have so many elements."""
    return next(
        block
        for block in FULL_BLOCKS
        if block.fork is fork and len(block.json["message"]["body"]["attestations"]) == elements
    )


def serialized(fork: Fork, data: Any) -> bytes:
    return signed_block(spec(), fork).serialize(data)


def changed(block: SpecificationBlock) -> Any:
    """A copy of a block's JSON to be changed."""
    return json.loads(json.dumps(block.json))


@pytest.mark.parametrize("block", specification_blocks(), ids=str)
def test_the_serializer_of_these_tests_equals_the_specification(block: SpecificationBlock) -> None:
    of_fork = signed_block(spec(), block.fork, blinded=block.blinded)
    assert of_fork.serialize(block.json) == block.ssz


@pytest.mark.parametrize("block", specification_blocks(), ids=str)
def test_a_block_of_the_specification_is_what_its_json_says(block: SpecificationBlock) -> None:
    version = block.fork.name.lower()
    assert decoded(block) == from_json(block.json, version, blinded=block.blinded)


def test_the_blocks_of_the_specification_hold_every_kind_of_operation() -> None:
    operations = decoded(block_of(Fork.FULU, elements=2)).operations
    for name in operations.__dataclass_fields__:
        # The limits of an attester slashing and of a consolidation are one.
        assert len(getattr(operations, name)) in (1, 2), name
    assert all(len(slashed) == 2 for slashed in operations.attester_slashings)


@pytest.mark.parametrize("fork", FORKS, ids=lambda fork: fork.name.lower())
def test_every_fork_is_covered(fork: Fork) -> None:
    blocks = [block for block in specification_blocks() if block.fork is fork]
    assert any(block.blinded for block in blocks) == (fork >= Fork.BELLATRIX)
    assert {decoded(block).fork for block in blocks} == {fork}


@pytest.mark.parametrize("path", [RECORDING_PATH, RECORDING], ids=["devnet", "devnet with states"])
def test_every_recorded_block_is_what_its_json_says(path: Any) -> None:
    bodies = set()
    recorded_spec = None
    for exchange in read_exchanges(path):
        if exchange.path == "/eth/v1/config/spec":
            recorded_spec = ChainSpec.from_config(json.loads(exchange.content)["data"])
        asked = re.fullmatch(r"/eth/v\d/beacon/(blocks|blinded_blocks)/\w+", exchange.path)
        if asked and exchange.status == 200 and exchange.request_headers is None:
            bodies.add((asked[1], exchange.content))
    assert recorded_spec is not None
    decoder = BlockDecoder(recorded_spec)
    seen = set()
    for kind, content in bodies:
        answer = json.loads(content)
        fork, blinded = Fork[answer["version"].upper()], kind == "blinded_blocks"
        ssz = signed_block(recorded_spec, fork, blinded=blinded).serialize(answer["data"])
        block = decoder.block(fork, ssz, blinded=blinded)
        assert block == decode.block(content, blinded=blinded)
        seen.add((fork, blinded))
    assert seen == {(f, b) for f in (Fork.DENEB, Fork.ELECTRA) for b in (False, True)}


@pytest.mark.parametrize("fork", FORKS[2:], ids=lambda fork: fork.name.lower())
def test_a_blinded_block_lacks_nothing_but_the_withdrawals(fork: Fork) -> None:
    blinded = next(b for b in specification_blocks() if b.fork is fork and b.blinded)
    unknown = decoded(blinded).operations
    assert unknown.withdrawals == (None if fork >= Fork.CAPELLA else ())
    assert unknown.proposer_slashings
    assert unknown.voluntary_exits


def test_a_full_block_is_no_blinded_one_and_the_other_way_round() -> None:
    for block in specification_blocks():
        if block.fork >= Fork.BELLATRIX:
            with pytest.raises(FieldError, match=r"execution_payload(_header)?\."):
                BlockDecoder(spec()).block(block.fork, block.ssz, blinded=not block.blinded)


@pytest.mark.parametrize("block", specification_blocks(), ids=str)
def test_a_truncated_block_is_refused_at_every_byte(block: SpecificationBlock) -> None:
    """SSZ does not show where the last list ends: cut between its rows, it is a shorter list."""
    decoder, whole = BlockDecoder(spec()), decoded(block)
    accepted = []
    for length in range(len(block.ssz)):
        try:
            cut = decoder.block(block.fork, block.ssz[:length], blinded=block.blinded)
        except FieldError:
            continue
        accepted.append(len(block.ssz) - length)
        # The last list in Bellatrix is that of the transactions, which are not parsed; in Deneb
        # that of the commitments, which are not used.
        if block.fork in (Fork.BELLATRIX, Fork.DENEB):
            assert cut == whole
    body = block.json["message"]["body"]
    row, rows = {
        Fork.PHASE0: (112, body["voluntary_exits"]),
        Fork.ALTAIR: (112, body["voluntary_exits"]),
        Fork.CAPELLA: (172, body.get("bls_to_execution_changes")),
        Fork.DENEB: (48, body.get("blob_kzg_commitments")),
    }.get(block.fork, (116, body.get("execution_requests", {}).get("consolidations")))
    if block.fork is not Fork.BELLATRIX:
        assert accepted == [row * lost for lost in range(len(rows), 0, -1)]


@pytest.mark.parametrize("listed", [True, False], ids=["limits listed", "no limits listed"])
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_are_a_block_or_a_refusal(listed: bool, data: st.DataObject) -> None:
    block = data.draw(st.sampled_from(specification_blocks()))
    content = bytearray(block.ssz)
    for _ in range(data.draw(st.integers(1, 4))):
        # Most of the structure lies in the first bytes of the block, of its body and its lists.
        at = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 500))
        new = data.draw(st.binary(min_size=1, max_size=8) | st.just(b"\xff\xff\xff\xff"))
        removed = data.draw(st.sampled_from((len(new), len(new), 0, len(new) + 3)))
        content[at : at + removed] = new
    decoder = BlockDecoder(spec() if listed else spec_without_limits())
    try:
        decoder.block(block.fork, content, blinded=block.blinded)
    except FieldError as error:
        if not re.match(r"field \S.* is .*, expected .", str(error)):
            raise


@given(content=st.binary(max_size=3000), fork=st.sampled_from(FORKS), blinded=st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_refused(content: bytes, fork: Fork, blinded: bool) -> None:
    with pytest.raises(FieldError):
        BlockDecoder(spec()).block(fork, content, blinded=blinded)


@pytest.mark.parametrize("fork", FORKS[:-1], ids=lambda fork: fork.name.lower())
def test_a_block_of_another_fork_than_its_slot_is_refused(fork: Fork) -> None:
    block = block_of(Fork.FULU)
    with pytest.raises(FieldError, match=rf"Consensus-Version .* '{fork.name.lower()}', .* fulu,"):
        BlockDecoder(spec()).block(fork, block.ssz)


def test_a_fork_whose_blocks_are_not_known_is_refused() -> None:
    with pytest.raises(UnsupportedForkError, match="gloas cannot be read in SSZ"):
        BlockDecoder(spec()).block(Fork.GLOAS, block_of(Fork.FULU).ssz)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("MAX_PROPOSER_SLASHINGS", "proposer_slashings"),
        ("MAX_ATTESTATIONS_ELECTRA", "attestations"),
        ("MAX_DEPOSITS", "deposits"),
        ("MAX_VOLUNTARY_EXITS", "voluntary_exits"),
        ("MAX_BLS_TO_EXECUTION_CHANGES", "bls_to_execution_changes"),
        ("MAX_WITHDRAWALS_PER_PAYLOAD", "execution_payload.withdrawals"),
        ("MAX_DEPOSIT_REQUESTS_PER_PAYLOAD", "execution_requests.deposits"),
        ("MAX_WITHDRAWAL_REQUESTS_PER_PAYLOAD", "execution_requests.withdrawals"),
    ],
)
def test_more_elements_than_the_chain_allows_are_refused(name: str, path: str) -> None:
    narrow = ChainSpec.from_config(config(**{name: "1"}))
    block = block_of(Fork.ELECTRA, elements=2)
    expected = f"field message.body.{path} (elements) is 2, expected at most 1, {name}"
    with pytest.raises(FieldError, match=f"^{re.escape(expected)}$"):
        BlockDecoder(narrow).block(block.fork, block.ssz)


def test_more_attesters_than_a_committee_can_have_are_refused() -> None:
    narrow = ChainSpec.from_config(config(MAX_VALIDATORS_PER_COMMITTEE="2"))
    data = changed(block_of(Fork.DENEB))
    data["message"]["body"]["attester_slashings"] = []
    data["message"]["body"]["attestations"][0]["aggregation_bits"] = "0x07"
    BlockDecoder(narrow).block(Fork.DENEB, serialized(Fork.DENEB, data))
    data["message"]["body"]["attestations"][0]["aggregation_bits"] = "0x0f"
    with pytest.raises(FieldError, match=r"attestations\[0\].aggregation_bits is '0x0f', .* 2 bit"):
        BlockDecoder(narrow).block(Fork.DENEB, serialized(Fork.DENEB, data))
    slashing = block_of(Fork.DENEB)
    with pytest.raises(FieldError, match=r"attestation_1.attesting_indices \(elements\) is 3"):
        BlockDecoder(narrow).block(Fork.DENEB, slashing.ssz)


def test_aggregation_bits_without_an_end_are_refused() -> None:
    data = changed(block_of(Fork.FULU))
    data["message"]["body"]["attestations"][0]["aggregation_bits"] = "0x0100"
    with pytest.raises(FieldError, match=r"attestations\[0\].aggregation_bits is '0x0100'"):
        BlockDecoder(spec()).block(Fork.FULU, serialized(Fork.FULU, data))


def _first(data: Any, name: str) -> Any:
    return data["message"]["body"][name][0]


NUMBERS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "message.slot": lambda d: (d["message"], "slot"),
    "message.proposer_index": lambda d: (d["message"], "proposer_index"),
    "message.body.attestations[0].data.slot": lambda d: (_first(d, "attestations")["data"], "slot"),
    "message.body.attestations[0].data.index": lambda d: (
        _first(d, "attestations")["data"],
        "index",
    ),
    "message.body.attestations[0].data.source.epoch": lambda d: (
        _first(d, "attestations")["data"]["source"],
        "epoch",
    ),
    "message.body.attestations[0].data.target.epoch": lambda d: (
        _first(d, "attestations")["data"]["target"],
        "epoch",
    ),
    "message.body.proposer_slashings[0].signed_header_1.message.proposer_index": lambda d: (
        _first(d, "proposer_slashings")["signed_header_1"]["message"],
        "proposer_index",
    ),
    "message.body.attester_slashings[0].attestation_2.attesting_indices[]": lambda d: (
        _first(d, "attester_slashings")["attestation_2"]["attesting_indices"],
        0,
    ),
    "message.body.deposits[0].data.amount": lambda d: (_first(d, "deposits")["data"], "amount"),
    "message.body.voluntary_exits[0].message.validator_index": lambda d: (
        _first(d, "voluntary_exits")["message"],
        "validator_index",
    ),
    "message.body.bls_to_execution_changes[0].message.validator_index": lambda d: (
        _first(d, "bls_to_execution_changes")["message"],
        "validator_index",
    ),
    "message.body.execution_payload.withdrawals[0].amount": lambda d: (
        d["message"]["body"]["execution_payload"]["withdrawals"][0],
        "amount",
    ),
    "message.body.execution_requests.deposits[0].amount": lambda d: (
        d["message"]["body"]["execution_requests"]["deposits"][0],
        "amount",
    ),
}


@pytest.mark.parametrize("path", NUMBERS)
def test_a_number_that_json_would_be_refused_for_is_refused_at_the_same_field(path: str) -> None:
    data = changed(block_of(Fork.FULU))
    holder, key = NUMBERS[path](data)
    holder[key] = str(2**63)
    reads: tuple[Callable[[], Block], ...] = (
        lambda: from_json(data, "fulu"),
        lambda: BlockDecoder(spec()).block(Fork.FULU, serialized(Fork.FULU, data)),
    )
    for refused in reads:
        with pytest.raises(FieldError, match=re.escape(f"{path} is {2**63}")):
            refused()


def test_a_withdrawal_request_may_ask_for_any_amount() -> None:
    """The sender chooses all 64 bits; a block with such a request must not cost its epoch."""
    data = changed(block_of(Fork.FULU))
    data["message"]["body"]["execution_requests"]["withdrawals"][0]["amount"] = str(2**64 - 1)
    for block in (
        from_json(data, "fulu"),
        BlockDecoder(spec()).block(Fork.FULU, serialized(Fork.FULU, data)),
    ):
        assert block.operations.withdrawal_requests[0].amount == 2**63 - 1


def offset_at(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 4], "little")


def with_offset(content: bytes, at: int, offset: int) -> bytes:
    return content[:at] + offset.to_bytes(4, "little") + content[at + 4 :]


def test_offsets_that_do_not_fit_are_named() -> None:
    content = block_of(Fork.FULU, elements=2).ssz
    body = 100 + 84
    slashings = body + 96 + 72 + 32  # the offset of the body's first list
    attestations = body + offset_at(content, slashings + 8)
    for damaged, expected in {
        with_offset(content, 0, 101): r"field message \(offset\) is 101, expected 100, the end of",
        with_offset(content, 180, 83): r"field message.body \(offset\) is 83, expected 84",
        with_offset(content, slashings, 0): r"message.body.proposer_slashings \(offset\) is 0, ",
        with_offset(content, slashings + 4, 1): r"attester_slashings \(offset\) is 1, expected an ",
        with_offset(content, slashings + 8, 2**32 - 1): r"attestations \(offset\) is 4294967295",
        with_offset(content, attestations, 0): r"attestations\[0\] \(offset\) is 0",
        with_offset(content, attestations, 6): r"attestations\[0\] \(offset\) is 6",
        with_offset(content, attestations, 2**31): r"attestations\[0\] \(offset\) is 2147483648",
        with_offset(content, attestations + 4, 3): r"attestations\[1\] \(offset\) is 3",
        with_offset(content, attestations + 8, 7): r"attestations\[0\].aggregation_bits \(offset\)",
    }.items():
        with pytest.raises(FieldError, match=expected):
            BlockDecoder(spec()).block(Fork.FULU, damaged)
