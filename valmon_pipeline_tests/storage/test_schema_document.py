"""The documentation of the tables is that of the tables there are."""

from __future__ import annotations

from pathlib import Path

from valmon_pipeline.frames import TABLES
from valmon_pipeline.storage.schema_document import schema_document

PAGE = Path(__file__).parents[2] / "docs" / "schema.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == schema_document(), (
        "run: python -m valmon_pipeline.storage.schema_document > docs/schema.md"
    )


def test_every_column_is_on_the_page() -> None:
    page = schema_document()
    for contract in TABLES.values():
        section = page.split(f"\n## {contract.name}\n")[1].split("\n## ")[0]
        assert all(f"| `{name}` |" in section for name in contract.columns)
