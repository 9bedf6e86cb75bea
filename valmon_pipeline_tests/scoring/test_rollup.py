"""Sums per validator: exact, whatever the pieces, unknown where anything is."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.scoring.rollup import SumsByValidator

ROWS = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.integers(-(2**53), 2**53),
        st.floats(0, 1, allow_subnormal=False),
        st.booleans(),
    ),
    max_size=40,
)


def summed(rows: list[tuple[int, int, float, bool]], cuts: list[int]) -> SumsByValidator:
    """The rows added in pieces that end at ``cuts``; validators 1 to 5 are included."""
    sums = SumsByValidator()
    sums.include(np.arange(1, 6))
    ends = sorted({*cuts, len(rows)})
    for start, end in zip([0, *ends], ends, strict=False):
        piece = rows[start:end]
        validators = np.array([row[0] for row in piece], dtype=np.int64)
        gwei = np.array([row[1] for row in piece], dtype=np.int64)
        unknown = np.array([row[3] for row in piece], dtype=np.bool_)
        shares = np.array([row[2] for row in piece], dtype=np.float64)
        ideal = np.ma.MaskedArray(gwei, mask=unknown)
        sums.add(validators, {"gwei": gwei, "shares": shares, "ideal": ideal})
    return sums


@given(ROWS, st.lists(st.integers(0, 40), max_size=4))
def test_pieces_do_not_matter_and_sums_are_exact(
    rows: list[tuple[int, int, float, bool]], cuts: list[int]
) -> None:
    whole, pieces = summed(rows, []), summed(rows, [min(cut, len(rows)) for cut in cuts])
    assert whole.validators.tolist() == pieces.validators.tolist() == [1, 2, 3, 4, 5]
    for name in ("gwei", "shares"):
        assert whole.total(name).tobytes() == pieces.total(name).tobytes()
    of = {index: [row for row in rows if row[0] == index] for index in range(1, 6)}
    assert pieces.total("gwei").tolist() == [sum(row[1] for row in of[i]) for i in of]
    ideal = pieces.total("ideal")
    assert np.ma.getmaskarray(ideal).tolist() == [any(row[3] for row in of[i]) for i in of]
    assert [value for value in ideal.tolist() if value is not None] == [
        sum(row[1] for row in of[i]) for i in of if not any(row[3] for row in of[i])
    ]


def test_index_zero_counts_like_any_other() -> None:
    sums = SumsByValidator()
    sums.include(np.array([0, 3]))
    sums.add(np.array([0, 0, 2, 3]), {"reward": np.array([5, -7, 100, 1])})
    assert sums.validators.tolist() == [0, 3]
    assert sums.total("reward").tolist() == [-2, 1]
    assert sums.total("never").tolist() == [0, 0]


def test_of_nobody_there_is_nothing() -> None:
    assert len(SumsByValidator().validators) == 0
    assert len(SumsByValidator().total("ideal")) == 0
