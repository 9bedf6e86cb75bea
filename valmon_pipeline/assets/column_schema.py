"""A table's columns as Dagster shows them: from its contract."""

from __future__ import annotations

import dagster as dg

from valmon_pipeline.frames.contract import TableContract


def column_schema(contract: TableContract) -> dg.TableSchema:
    """The columns with their types, units and meaning; key columns are not nullable."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=name,
                type=str(column.dtype),
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=bool(column.nullable)),
            )
            for name, column in contract.schema.columns.items()
        ]
    )
