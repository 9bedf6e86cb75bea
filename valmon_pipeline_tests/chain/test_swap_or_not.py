"""The whole-list shuffle is the specification's loop over single positions."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.swap_or_not import shuffled, shuffled_positions
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline_tests.chain.presets import MINIMAL


def with_rounds(rounds: int) -> ChainSpec:
    return replace(MINIMAL, shuffle_round_count=rounds)


def compute_shuffled_index(index: int, count: int, seed: bytes, rounds: int) -> int:
    """The text of the specification."""
    for number in range(rounds):
        pivot = int.from_bytes(sha256(seed + bytes([number])).digest()[:8], "little") % count
        flip = (pivot + count - index) % count
        position = max(index, flip)
        source = sha256(seed + bytes([number]) + (position // 256).to_bytes(4, "little")).digest()
        bit = source[(position % 256) // 8] >> (position % 8) & 1
        index = flip if bit else index
    return index


@given(st.integers(1, 700), st.integers(1, 90), st.binary(min_size=32, max_size=32))
def test_both_forms_equal_the_text_of_the_specification(
    count: int, rounds: int, seed: bytes
) -> None:
    spec = with_rounds(rounds)
    expected = [compute_shuffled_index(i, count, seed, rounds) for i in range(min(count, 300))]
    indices = np.arange(1000, 1000 + count)
    whole = shuffled(spec, indices, seed)
    assert whole[:300].tolist() == [1000 + position for position in expected]
    assert sorted(whole.tolist()) == indices.tolist()
    some = shuffled_positions(spec, np.arange(min(count, 300)), count, seed)
    assert some.tolist() == expected


def test_the_number_of_rounds_is_asked_for_and_never_assumed() -> None:
    spec = replace(MINIMAL, shuffle_round_count=None)
    with pytest.raises(ChainRuleViolationError, match="does not list SHUFFLE_ROUND_COUNT, without"):
        shuffled(spec, np.arange(3), bytes(32))


def test_an_empty_list_stays_empty() -> None:
    assert shuffled(with_rounds(10), np.empty(0, dtype=np.int64), bytes(32)).tolist() == []
