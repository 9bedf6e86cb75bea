"""Answers of nodes kept while they were current: written by sensors and runs, read by runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from valmon_pipeline.beacon.captured_answers import CapturedAnswer
from valmon_pipeline.storage.captured_table import captured_table
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.tables import table_of


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
        epochs, kept = table_of(schema, "network_epochs").c, self._table.c
        settled = sa.select(epochs.epoch).where(epochs.finalized, epochs.missing_facts == 0)
        query = sa.delete(self._table).where(kept.epoch < before, kept.epoch.in_(settled))
        with self._database.transaction("drop captured answers") as connection:
            return connection.execute(query).rowcount

    def drop_before(self, epoch: int) -> int:
        """Drop everything about epochs below ``epoch``; returns how many answers that were."""
        query = sa.delete(self._table).where(self._table.c.epoch < epoch)
        with self._database.transaction("drop captured answers") as connection:
            return connection.execute(query).rowcount
