"""Building frames: exact types, and nothing changed on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.errors import ContractViolationError
from valmon_pipeline.frames import TABLES, conform, validate


def duties(**changes: Any) -> dict[str, Any]:
    return {
        "epoch": 7,
        "validator_index": np.arange(3),
        "slot": np.arange(3) + 56,
        "committee_index": [0, 1, 0],
        "committee_position": np.zeros(3, dtype=np.uint8),
        "committee_length": 4,
    } | changes


def blocks(**changes: Any) -> dict[str, Any]:
    return {
        "epoch": 7,
        "slot": [56, 57],
        "status": ["proposed", "missed"],
        "proposer_index": np.ma.array([5, 6], mask=[False, True]),
        "block_root": [bytes(32), None],
        "parent_root": [b"p" * 32, None],
        "attestation_count": None,
        "sync_participants": None,
    } | changes


def test_types_are_exactly_those_of_the_contract() -> None:
    assert conform("attestation_duties", duties()).dtypes.unique().tolist() == [np.dtype("int32")]
    assert conform("blocks", blocks()).dtypes.astype(str).to_dict() == {
        "epoch": "int32",
        "slot": "int32",
        "status": "category",
        "proposer_index": "Int32",
        "block_root": "object",
        "parent_root": "object",
        "attestation_count": "Int32",
        "sync_participants": "Int32",
    }


@pytest.mark.parametrize("table", TABLES)
def test_empty_frames_have_the_types_too(table: str) -> None:
    frame = conform(table, {name: [] for name in TABLES[table].columns})
    assert len(validate(table, frame)) == 0


@given(hnp.arrays(np.int64, st.integers(1, 20)))
def test_integers_are_kept_or_refused_never_wrapped(values: np.ndarray[Any, Any]) -> None:
    columns = dict.fromkeys(TABLES["attestation_duties"].columns, values)
    if bool(((values >= -(2**31)) & (values < 2**31)).all()):
        frame = conform("attestation_duties", columns)
        assert frame["slot"].tolist() == values.tolist()
    else:
        with pytest.raises(ContractViolationError, match="do not fit int32"):
            conform("attestation_duties", columns)


def test_a_value_that_does_not_fit_is_named() -> None:
    with pytest.raises(
        ContractViolationError, match=r"attestation_duties\.slot.* 2147483648 in row 1"
    ):
        conform("attestation_duties", duties(slot=[1, 2**31, 3]))
    big = np.array([2**64 - 1, 0, 0], dtype=np.uint64)
    with pytest.raises(ContractViolationError, match="18446744073709551615 in row 0"):
        conform("attestation_duties", duties(slot=big))


def test_masked_values_are_null_whatever_is_under_the_mask() -> None:
    epochs = np.ma.array([5, NEVER], mask=[False, True])
    frame = conform(
        "validators",
        {
            "validator_index": [1, 2],
            "pubkey": np.zeros((2, 48), dtype=np.uint8),
            "withdrawal_credentials": np.zeros((2, 32), dtype=np.uint8),
            "credential_type": "bls",
            "slashed": False,
            "activation_eligibility_epoch": epochs,
            "activation_epoch": pd.Series([5, None], dtype="Int64"),
            "exit_epoch": None,
            "withdrawable_epoch": epochs,
        },
    )
    assert frame["withdrawable_epoch"].isna().tolist() == [False, True]
    assert frame["activation_epoch"].isna().tolist() == [False, True]
    assert frame["exit_epoch"].isna().all()
    assert frame["withdrawable_epoch"][0] == 5


def test_null_where_the_contract_allows_none_is_refused() -> None:
    with pytest.raises(ContractViolationError, match="slot: 1 NULLs"):
        conform(
            "attestation_duties", duties(slot=np.ma.array([1, 2, 3], mask=[False, True, False]))
        )


@pytest.mark.parametrize("slot", [[1.0, 2.0, 3.0], [True, False, True], ["1", "2", "3"]])
def test_only_integers_become_integers(slot: list[Any]) -> None:
    with pytest.raises(
        ContractViolationError, match=r"attestation_duties\.slot: needs whole numbers"
    ):
        conform("attestation_duties", duties(slot=slot))


def test_bytes_keep_their_trailing_zeros() -> None:
    frame = conform("blocks", blocks(block_root=np.zeros((2, 32), dtype=np.uint8)))
    assert frame["block_root"].tolist() == [bytes(32), bytes(32)]


def test_numpy_strings_are_refused_because_they_lose_zeros() -> None:
    with pytest.raises(ContractViolationError, match="bytes objects or a uint8 matrix"):
        conform("blocks", blocks(block_root=np.array([b"a" * 31 + b"\0", b"b"])))


def test_rows_of_a_masked_matrix_are_null() -> None:
    matrix = np.ma.array(np.ones((2, 32), dtype=np.uint8), mask=np.repeat([[False], [True]], 32, 1))
    assert conform("blocks", blocks(block_root=matrix))["block_root"].tolist() == [b"\1" * 32, None]


def test_enumerations_take_names_positions_and_categoricals() -> None:
    for status in (
        ["proposed", "missed"],
        np.array([0, 1]),
        pd.Categorical(["proposed", "missed"]),
    ):
        frame = conform("blocks", blocks(status=status))
        assert frame["status"].tolist() == ["proposed", "missed"]
        assert list(frame["status"].cat.categories) == ["proposed", "missed", "orphaned"]


@pytest.mark.parametrize(("status", "named"), [(["proposed", "lost"], "'lost'"), ([0, 3], "3")])
def test_unknown_names_and_positions_are_refused(status: list[Any], named: str) -> None:
    with pytest.raises(ContractViolationError, match=f"blocks.status: .*{named}"):
        conform("blocks", blocks(status=status))


def test_missing_and_unknown_columns_are_named() -> None:
    columns = duties(colour=1)
    del columns["slot"]
    with pytest.raises(ContractViolationError, match=r"missing \['slot'\], unknown \['colour'\]"):
        conform("attestation_duties", columns)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ContractViolationError, match=r"differ in length: .*'slot': 2"):
        conform("attestation_duties", duties(slot=[1, 2]))


def test_all_scalars_have_no_length() -> None:
    with pytest.raises(ContractViolationError, match="every column is a scalar"):
        conform("attestation_duties", dict.fromkeys(TABLES["attestation_duties"].columns, 1))
