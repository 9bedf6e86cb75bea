from __future__ import annotations

import numpy as np
import pytest

from valmon_pipeline.beacon.validator_ids import chunks, split_ids, unique_indices

KEY = "ab" * 48


def test_index_0_is_an_index() -> None:
    assert split_ids([0]) == ([0], [])


def test_duplicates_are_asked_once() -> None:
    assert split_ids([3, 1, "3", np.int64(3), KEY, "0x" + KEY.upper()]) == ([1, 3], ["0x" + KEY])


@pytest.mark.parametrize("wrong", ["-1", "", "0x12", "abc", "1.0", "٣", KEY + "\n"])
def test_anything_else_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="neither a validator index nor a public key"):
        split_ids([wrong])


def test_negative_and_fractional_indices_are_refused() -> None:
    with pytest.raises(ValueError, match="-1 is negative"):
        unique_indices([-1])
    with pytest.raises(TypeError):
        unique_indices([1.0])  # type: ignore[list-item]


def test_chunks_cover_everything_once() -> None:
    assert list(chunks(map(str, range(5)), 2)) == [["0", "1"], ["2", "3"], ["4"]]
    assert list(chunks([], 2)) == []
