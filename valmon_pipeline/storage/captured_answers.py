"""The table ``captured_answers``: answers of nodes kept while they were current.

It is no frame, so no contract describes it: a row is a compressed line of an archive (see
``beacon.archive``). Every process and machine reads it before it asks a node.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from valmon_pipeline.beacon.captured_answers import CapturedAnswer
from valmon_pipeline.storage.database import Database

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


class CapturedAnswers:
    """The captured answers of one network; an ``AnswerStore``.

    All methods raise ``StorageError`` when the database is away or refuses.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._table = captured_table(sa.MetaData(schema=database.schema))

    def load(self, epochs: Collection[int]) -> list[CapturedAnswer]:
        """Return everything kept about ``epochs``."""
        table = self._table.c
        query = sa.select(
            table.epoch, table.request, table.node, table.block_root, table.body
        ).where(table.epoch.in_(sorted(epochs)))
        with self._database.transaction("read captured answers") as connection:
            return [
                CapturedAnswer(
                    row.epoch,
                    row.request,
                    row.node,
                    None if row.block_root is None else bytes(row.block_root),
                    bytes(row.body),
                )
                for row in connection.execute(query)
            ]

    def requests(self, epoch: int) -> set[str]:
        """Return the requests about ``epoch`` whose answers are kept."""
        query = sa.select(self._table.c.request).where(self._table.c.epoch == epoch)
        with self._database.transaction("read which answers are captured") as connection:
            return set(connection.execute(query).scalars())

    def keep(self, answers: Sequence[CapturedAnswer]) -> None:
        """Keep answers; one to the same request about the same epoch is replaced."""
        if not answers:
            return
        # In the order of the key, so that two writers wait for each other in turn.
        rows = [
            {
                "epoch": answer.epoch,
                "request": answer.request,
                "node": answer.node,
                "block_root": answer.block_root,
                "body": answer.body,
            }
            for answer in sorted(answers, key=lambda answer: (answer.epoch, answer.request))
        ]
        statement = insert(self._table)
        statement = statement.on_conflict_do_update(
            index_elements=[self._table.c.epoch, self._table.c.request],
            set_={name: statement.excluded[name] for name in ("node", "block_root", "body")}
            | {"captured_at": sa.func.now()},
        )
        with self._database.transaction("keep captured answers") as connection:
            connection.execute(statement, rows)

    def drop_settled(self, before: int) -> int:
        """Drop the answers about epochs below ``before`` that are stored, final and complete.

        Returns how many were dropped.
        """
        schema = self._database.schema
        query = sa.text(
            f'DELETE FROM "{schema}".{CAPTURED} AS kept USING "{schema}".network_epochs AS stored '
            "WHERE kept.epoch = stored.epoch AND kept.epoch < :before "
            "AND stored.finalized AND stored.missing_facts = 0"
        )
        with self._database.transaction("drop captured answers") as connection:
            return connection.execute(query, {"before": before}).rowcount

    def drop_before(self, epoch: int) -> int:
        """Drop everything about epochs below ``epoch``; returns how many answers that were."""
        query = sa.delete(self._table).where(self._table.c.epoch < epoch)
        with self._database.transaction("drop captured answers") as connection:
            return connection.execute(query).rowcount
