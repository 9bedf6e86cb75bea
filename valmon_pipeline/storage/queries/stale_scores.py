"""Epochs whose scores are stale: computed by other formulas, or not stored since their facts were.

Dagster shows staleness of a partition that one looks at, not of a partitioned asset as a whole.
"""

from __future__ import annotations

import sqlalchemy as sa

from valmon_pipeline.scoring.effectiveness import FORMULA_VERSION
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse


def stale_epochs(warehouse: Warehouse) -> list[int]:
    """The stored epochs whose scores are not those of this version's formulas, ascending.

    Raises:
        StorageError: the database is away or refuses.
    """
    epochs = table_of(warehouse.schema, "network_epochs").c
    query = (
        sa.select(epochs.epoch)
        .where(epochs.formula_version.is_distinct_from(FORMULA_VERSION))
        .order_by(epochs.epoch)
    )
    with warehouse.database.transaction("read whose scores are stale") as connection:
        return [int(epoch) for epoch in connection.execute(query).scalars()]
