"""``docs/schema.md``, written from the contracts: ``python -m
valmon_pipeline.storage.schema_document``.

A test fails when the file says something else than the tables.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from valmon_pipeline.frames import TABLES, TableContract
from valmon_pipeline.storage.captured_table import CAPTURED
from valmon_pipeline.storage.tables import INDEXES, SecondaryIndex, metadata_of
from valmon_pipeline.storage.tile_table import TILE_KEY, TILES

INTRODUCTION: Final = """\
# Tables

<!-- Written by `python -m valmon_pipeline.storage.schema_document > docs/schema.md`; do not edit.
-->

Every network has a PostgreSQL schema of its own with these tables, so no key names the network.
Each table is described once, as a pandera contract in `valmon_pipeline/frames/`; the SQL tables,
their comments (`\\d+` in psql), the checks in the UI and this page are made from it. A frame that
breaks its contract is not stored.

Conventions: `epoch`, `slot` and `validator_index` are `integer`; amounts are gwei in `bigint`;
roots and keys are `bytea`; shares are `double precision`; NULL means unknown or not set
(FAR_FUTURE_EPOCH is NULL), never zero. Enumerations are `text` with a CHECK: for a seventh more
space than a number, every query and dashboard reads names without a join. Times of slots are not
stored: a slot's time is `genesis_time + slot × slot_duration_ms` of `network_identity`.

An epoch of a table is replaced as a whole, in one transaction: readers see the old rows or the new
ones. **Partitioned** tables are split by epoch into children of one UTC day (`blocks_e0000225`
starts at epoch 225), made when first needed and dropped whole by retention. There are no foreign
keys: an epoch is stored and dropped by itself, and PostgreSQL would check each of a million rows
against tables that the same transaction writes. The lines of the diagram say which columns belong
together.

The large tables (a row per validator and epoch) have no index besides their key. A second one would
nearly double the cost of storing, and questions about one validator name the epochs they want,
which the key (epoch, validator_index) finds with one probe each. Tables that hold few rows of an
epoch have an index behind each question that their key does not answer; `valmon_pipeline/storage/
queries` asks them, and tests look at the plans.
"""

_DIALECT: Final[sa.Dialect] = postgresql.dialect()  # type: ignore[no-untyped-call]

UNPACKED: Final = """\
The view `network_validators` has a row per validator and epoch: `epoch`, `validator_index`, what
`network_outcomes` has, `total_reward`, `balance`, and `slot`, `committee_index`,
`committee_position` of the attestation duty. Ask it for one epoch (`WHERE epoch = 350000`). Of one
validator, `network_validator_history(validator, from_epoch, to_epoch)` returns the same rows in a
fraction of the time. See [network.md](network.md).
"""

REFERENCES: Final = {
    "epoch": ("network_epochs", "epoch"),
    "validator_index": ("validators", "validator_index"),
    "proposer_index": ("validators", "proposer_index"),
}
"""Columns that mean rows of another table, and what the line in the diagram is called."""


def schema_document() -> str:
    """The whole page, Markdown with a Mermaid diagram."""
    parts = [
        INTRODUCTION,
        _diagram(),
        *(_section(contract) for contract in TABLES.values()),
        _tiles(),
        _captured(),
    ]
    return "\n".join(parts)


def _diagram() -> str:
    lines = ["```mermaid", "erDiagram"]
    for contract in TABLES.values():
        lines += [f"    {contract.name} {{", *_diagram_columns(contract), "    }"]
        for column, (target, label) in REFERENCES.items():
            if column in contract.columns and target != contract.name:
                lines.append(f'    {target} ||--o{{ {contract.name} : "{label}"')
    return "\n".join([*lines, "```", ""])


def _diagram_columns(contract: TableContract) -> Iterator[str]:
    for name in contract.columns:
        key = " PK" if name in contract.key else ""
        yield f"        {_type(contract, name).replace(' ', '_')} {name}{key}"


def _section(contract: TableContract) -> str:
    kept = "partitioned by epoch" if contract.partitioned else "one table"
    lines = [
        f"## {contract.name}",
        "",
        contract.description,
        "",
        f"- Key: {', '.join(f'`{name}`' for name in contract.key)}; {kept}.",
        *(
            f"- {'Unique index' if index.unique else 'Index'} "
            f"({', '.join(f'`{name}`' for name in index.columns)})"
            f"{_carried(index)}"
            f"{'' if index.where is None else f' where `{index.where}`'}: {index.reason}"
            for index in INDEXES
            if index.table == contract.name
        ),
        "",
        "| column | type | NULL | meaning |",
        "|---|---|---|---|",
    ]
    for name, column in contract.schema.columns.items():
        nullable = "yes" if column.nullable else ""
        meaning = (column.description or "").replace("|", "\\|")
        values = (column.metadata or {}).get("categories")
        listed = f" One of {', '.join(f'`{value}`' for value in values)}." if values else ""
        lines.append(f"| `{name}` | {_type(contract, name)} | {nullable} | {meaning}{listed} |")
    rules = [str(check.error) for check in contract.schema.checks if check.name != "key_is_unique"]
    if rules:
        lines += ["", f"In every row: {'; '.join(rules)}."]
    return "\n".join([*lines, ""])


def _carried(index: SecondaryIndex) -> str:
    names = ", ".join(f"`{name}`" for name in index.carries)
    return f" carrying {names}" if names else ""


def _tiles() -> str:
    """The one table that holds arrays, and the view and the function that unpack it."""
    table = metadata_of("network").tables[f"network.{TILES}"]
    rows = [
        f"| `{column.name}` | {column.type.compile(_DIALECT).lower()} |  | {column.comment} |"
        for column in table.columns
    ]
    key = ", ".join(f"`{name}`" for name in TILE_KEY)
    return "\n".join(
        [
            f"## {TILES}",
            "",
            str(table.comment),
            "",
            f"- Key: {key}; partitioned by epoch.",
            "",
            "| column | type | NULL | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
            UNPACKED,
        ]
    )


def _captured() -> str:
    """The one table that holds answers of nodes as they were given."""
    table = metadata_of("network").tables[f"network.{CAPTURED}"]
    rows = [
        f"| `{column.name}` | {column.type.compile(_DIALECT).lower()} | "
        f"{'yes' if column.nullable else ''} | {column.comment} |"
        for column in table.columns
    ]
    return "\n".join(
        [
            f"## {CAPTURED}",
            "",
            str(table.comment),
            "",
            "- Key: `epoch`, `request`.",
            "",
            "| column | type | NULL | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _type(contract: TableContract, column: str) -> str:
    table: sa.Table = metadata_of("network").tables[f"network.{contract.name}"]
    return table.c[column].type.compile(_DIALECT).lower()


if __name__ == "__main__":
    sys.stdout.write(schema_document())
