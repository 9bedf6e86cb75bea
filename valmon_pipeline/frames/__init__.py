"""The tables of valmon, each described once, as pandera schemas.

Belongs here: what a table's columns are called, hold and mean, and whether a frame keeps to it. The
SQL tables (``storage.tables``), their comments, ``docs/schema.md`` and the checks in the UI are all
derived from these descriptions. Does not belong here: SQL, and how a column is computed.

``conform`` builds a frame with a table's exact column types from arrays; ``validate`` refuses a
frame that breaks its table's contract; ``violations`` lists what is wrong without raising.
"""

from valmon_pipeline.frames.conform import conform
from valmon_pipeline.frames.contract import TableContract
from valmon_pipeline.frames.tables import TABLES, contract_of
from valmon_pipeline.frames.validate import Violation, validate, violations

__all__ = [
    "TABLES",
    "TableContract",
    "Violation",
    "conform",
    "contract_of",
    "validate",
    "violations",
]
