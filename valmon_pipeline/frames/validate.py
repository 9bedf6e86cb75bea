"""Does a frame keep its table's contract? All breaches at once, counted, with examples.

pandera is what decides, and what explains. It takes some milliseconds a table, however few its
rows are: a batch of epochs is validated at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import pandera.pandas as pa

from valmon_pipeline.errors import ContractViolationError
from valmon_pipeline.frames.contract import TableContract
from valmon_pipeline.frames.tables import contract_of

EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule. ``column`` is None for a rule about whole rows or about the frame's shape.

    ``failing_count`` counts rows (1 for a rule about the frame itself); ``examples`` are at most
    five of them: the key's columns and the failing column, as plain values; ``epochs`` are those
    of all failing rows.
    """

    column: str | None
    rule: str
    failing_count: int
    examples: tuple[dict[str, object], ...]
    epochs: tuple[int, ...] = ()

    def __str__(self) -> str:
        where = "" if self.column is None else f"column {self.column}: "
        shown = ", ".join(str(example) for example in self.examples)
        return f"{where}{self.rule}: {self.failing_count} failing" + (
            f", e.g. {shown}" if shown else ""
        )


def violations(table: str, frame: pd.DataFrame) -> tuple[Violation, ...]:
    """Every rule of ``table`` that ``frame`` breaks; empty when it keeps them all."""
    contract = contract_of(table)
    frame = frame.reset_index(drop=True)
    try:
        contract.schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        return tuple(
            _violation(contract, frame, error) for error in _distinct(errors.schema_errors)
        )
    return ()


def validate(table: str, frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` itself if it keeps the contract of ``table``.

    Raises:
        ContractViolationError: it does not; one line per broken rule with the count of failing rows
            and up to five of them.
    """
    broken = violations(table, frame)
    if broken:
        lines = "\n".join(f"- {violation}" for violation in broken)
        raise ContractViolationError(
            f"{table}: {len(frame)} rows break the table's contract and were not stored:\n{lines}",
            table=table,
            epochs=tuple(sorted({epoch for violation in broken for epoch in violation.epochs})),
        )
    return frame


def _distinct(errors: Iterable[pa.errors.SchemaError]) -> list[pa.errors.SchemaError]:
    """Without those that only follow from others: a column that is missing or of a wrong type also
    fails the checks that use it."""
    errors = [
        error
        for error in errors
        if error.reason_code is not pa.errors.SchemaErrorReason.CHECK_ERROR
    ] or list(errors)
    wrong_type = {
        error.schema.name
        for error in errors
        if error.reason_code is pa.errors.SchemaErrorReason.WRONG_DATATYPE
    }
    return [
        error
        for error in errors
        if error.reason_code is pa.errors.SchemaErrorReason.WRONG_DATATYPE
        or error.schema.name not in wrong_type
    ]


def _violation(
    contract: TableContract, frame: pd.DataFrame, error: pa.errors.SchemaError
) -> Violation:
    column = error.schema.name if isinstance(error.schema, pa.Column) else None
    reason = error.reason_code
    if reason is pa.errors.SchemaErrorReason.WRONG_DATATYPE and column is not None:
        found = frame[column].dtype
        return Violation(column, f"must be {error.schema.dtype}, is {found}", len(frame), ())
    if reason is pa.errors.SchemaErrorReason.SERIES_CONTAINS_NULLS and column is not None:
        return _rows(contract, frame, column, "must not be NULL", frame[column].isna())
    if isinstance(error.check_output, pd.Series):
        rule = getattr(error.check, "error", None) or str(error.check)
        return _rows(contract, frame, column, str(rule), _failing(frame, error.check_output))
    return Violation(column, _first_line(error), 1, ())


def _failing(frame: pd.DataFrame, passed: pd.Series) -> pd.Series:
    """One boolean per row of ``frame``: pandera leaves NULLs out of what a check returns."""
    return ~passed.reindex(frame.index, fill_value=True).astype(bool)


def _rows(
    contract: TableContract,
    frame: pd.DataFrame,
    column: str | None,
    rule: str,
    failing: pd.Series,
) -> Violation:
    shown = [name for name in contract.key if name in frame.columns]
    if column is not None and column not in shown:
        shown.append(column)
    elif column is None:
        shown = list(frame.columns)
    sample = frame.loc[failing.to_numpy(), shown].head(EXAMPLES)
    examples = tuple(
        {str(name): _plain(value) for name, value in row.items()}
        for row in sample.to_dict(orient="records")
    )
    epochs = np.unique(frame.loc[failing.to_numpy(), "epoch"]) if contract.by_epoch else ()
    return Violation(column, rule, int(failing.sum()), examples, tuple(map(int, epochs)))


def _plain(value: Any) -> object:
    if value is pd.NA or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return value.item() if hasattr(value, "item") else value


def _first_line(error: pa.errors.SchemaError) -> str:
    return str(error).splitlines()[0][:200]
