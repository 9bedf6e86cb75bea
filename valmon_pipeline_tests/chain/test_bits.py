from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.chain.bits import decode_bitlist, decode_bitvector
from valmon_pipeline.errors import ChainRuleViolationError

bit_lists = st.lists(st.booleans(), max_size=300)


def encode_bitlist(bits: list[bool]) -> bytes:
    number = sum(bit << i for i, bit in enumerate([*bits, True]))
    return number.to_bytes(len(bits) // 8 + 1, "little")


def encode_bitvector(bits: list[bool]) -> bytes:
    return sum(bit << i for i, bit in enumerate(bits)).to_bytes((len(bits) + 7) // 8, "little")


@pytest.mark.parametrize(
    ("encoded", "bits"),
    [
        ("3d", [1, 0, 1, 1, 1]),
        ("cb01", [1, 1, 0, 1, 0, 0, 1, 1]),
        ("0001", [0] * 8),
        ("01", []),
        ("f502", [1, 0, 1, 0, 1, 1, 1, 1, 0]),
    ],
)
def test_bitlists_worked_by_hand(encoded: str, bits: list[int]) -> None:
    assert decode_bitlist(bytes.fromhex(encoded)).astype(int).tolist() == bits


def test_bitvectors_worked_by_hand() -> None:
    bits = decode_bitvector(bytes.fromhex("0500000000000000"), 64)
    assert bits.nonzero()[0].tolist() == [0, 2]
    assert decode_bitvector(b"\x0f", 4).tolist() == [True] * 4


@given(bit_lists)
def test_any_bitlist_survives_encoding(bits: list[bool]) -> None:
    assert decode_bitlist(encode_bitlist(bits)).tolist() == bits


@given(bit_lists)
def test_any_bitvector_survives_encoding(bits: list[bool]) -> None:
    encoded = encode_bitvector(bits)
    assert decode_bitvector(encoded, len(bits)).tolist() == bits


@given(st.binary(max_size=20))
def test_any_bytes_are_a_bitlist_or_refused(data: bytes) -> None:
    if data and data[-1]:
        assert encode_bitlist(decode_bitlist(data).tolist()) == data
    else:
        with pytest.raises(ChainRuleViolationError, match="length marker"):
            decode_bitlist(data)


@given(st.binary(max_size=20), st.integers(0, 160))
def test_any_bytes_are_a_bitvector_or_refused(data: bytes, length: int) -> None:
    fits = len(data) == (length + 7) // 8
    if fits and int.from_bytes(data, "little") < 1 << length:
        assert encode_bitvector(decode_bitvector(data, length).tolist()) == data
    else:
        with pytest.raises(ChainRuleViolationError, match=r"expected|beyond"):
            decode_bitvector(data, length)
