"""What every table's contract must have, so that tables, docs and checks can be made from it."""

from __future__ import annotations

import pytest

from valmon_pipeline.errors import ContractViolationError
from valmon_pipeline.frames import TABLES, contract_of, validate
from valmon_pipeline.frames.columns import integer
from valmon_pipeline.frames.contract import table
from valmon_pipeline_tests.sample_frames import sample_frame


@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_described(name: str) -> None:
    contract = TABLES[name]
    assert contract.description
    assert all(column.description for column in contract.schema.columns.values())


@pytest.mark.parametrize("name", TABLES)
def test_keys_come_first_and_are_never_null(name: str) -> None:
    contract = TABLES[name]
    assert contract.columns[: len(contract.key)] == contract.key
    assert not any(contract.schema.columns[column].nullable for column in contract.key)


@pytest.mark.parametrize("name", TABLES)
def test_only_tables_kept_by_epoch_are_partitioned(name: str) -> None:
    assert TABLES[name].by_epoch or not TABLES[name].partitioned


@pytest.mark.parametrize("name", TABLES)
def test_valid_frames_pass(name: str) -> None:
    frame = sample_frame(name)
    assert validate(name, frame) is frame


def test_an_unknown_table_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ContractViolationError, match=r"no table 'block'; the tables are .*blocks"):
        contract_of("block")


def test_a_key_must_name_columns() -> None:
    with pytest.raises(ValueError, match="slot"):
        table("t", "A table.", key=["slot"], columns={"epoch": integer("The epoch.")})
