"""The table ``captured_answers``: answers of nodes kept while they were current.

It is no frame, so no contract describes it: a row is a compressed line of an archive (see
``beacon.archive``). Every process and machine reads it before it asks a node.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

CAPTURED: Final = "captured_answers"
DESCRIPTION: Final = (
    "Answers of beacon nodes kept while they were current, so that no later request is needed "
    "that a node may refuse: blocks, registries at epoch boundaries, committees, duties, rewards. "
    "Kept until the epoch is final and complete and its day is over."
)
COLUMNS: Final = {
    "epoch": "The epoch that the answer is about.",
    "request": "Method, path and query; a request's body counts by its hash.",
    "node": "The beacon node that answered, without credentials.",
    "block_root": "Root of the head when it answered: the answer counts while that block is "
    "canonical. NULL for an answer that names its block in the request.",
    "captured_at": "When it answered.",
    "body": "The exchange as a line of an archive, zstd-compressed.",
}

_TYPES: Final[dict[str, sa.types.TypeEngine[Any]]] = {
    "epoch": sa.Integer(),
    "request": sa.Text(),
    "node": sa.Text(),
    "block_root": sa.LargeBinary(),
    "captured_at": sa.DateTime(timezone=True),
    "body": sa.LargeBinary(),
}


def captured_table(metadata: sa.MetaData) -> sa.Table:
    """Add the table to ``metadata``."""
    return sa.Table(
        CAPTURED,
        metadata,
        *(
            sa.Column(
                name,
                _TYPES[name],
                primary_key=name in ("epoch", "request"),
                autoincrement=False,
                nullable=name == "block_root",
                server_default=sa.func.now() if name == "captured_at" else None,
                comment=comment,
            )
            for name, comment in COLUMNS.items()
        ),
        comment=DESCRIPTION,
    )
