"""What is summed up of the ledger and of penalties is all there is of them."""

from __future__ import annotations

from valmon_pipeline.frames import TABLES
from valmon_pipeline.frames.balance_ledger import COMPONENTS
from valmon_pipeline.frames.validator_penalties import PENALTY_TYPES as STORED_PENALTY_TYPES
from valmon_pipeline.scoring.facts import FACT_COLUMNS, LEDGER_SUMS, PENALTY_TYPES


def test_every_component_of_the_ledger_has_a_sum() -> None:
    assert set(LEDGER_SUMS) == {*COMPONENTS, "full_withdrawals", "residual"}


def test_every_kind_of_penalty_has_a_sum() -> None:
    assert PENALTY_TYPES == STORED_PENALTY_TYPES


def test_the_columns_that_are_summed_up_exist() -> None:
    for table, columns in FACT_COLUMNS.items():
        assert set(columns) <= set(TABLES[table].columns), table
