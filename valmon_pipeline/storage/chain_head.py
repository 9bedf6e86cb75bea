"""Where the chain is, as the live service last stored it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The head when it was last looked at, and how far that is from now.

    ``slots_behind`` is how many slots the clock is ahead of the head's, be it that the node or that
    valmon stands still; ``seconds_since_seen`` tells the two apart.
    """

    slot: int
    root: bytes
    epoch: int
    justified_epoch: int
    finalized_epoch: int
    node: str
    is_optimistic: bool
    seen_at: datetime
    seconds_since_seen: float
    slots_behind: int


def read_chain_head(warehouse: Warehouse, now: datetime) -> ChainHead | None:
    """The head as of ``now``; None before the chain was followed for the first time.

    Raises:
        StorageError: the database is away.
    """
    rows = warehouse.read("chain_head")
    network = warehouse.network()
    if rows.empty or network is None:
        return None
    row = rows.iloc[0]
    seen_at = row["seen_at"].to_pydatetime()
    since_genesis_ms = round(now.timestamp() * 1000) - network.genesis_time * 1000
    return ChainHead(
        slot=int(row["head_slot"]),
        root=row["head_root"],
        epoch=int(row["head_epoch"]),
        justified_epoch=int(row["justified_epoch"]),
        finalized_epoch=int(row["finalized_epoch"]),
        node=str(row["node"]),
        is_optimistic=bool(row["is_optimistic"]),
        seen_at=seen_at,
        seconds_since_seen=(now - seen_at).total_seconds(),
        slots_behind=max(0, since_genesis_ms // network.slot_duration_ms - int(row["head_slot"])),
    )


def first_followed_epoch(database: Database) -> int | None:
    """The first epoch in which the chain's head was followed; None if it never was.

    Raises:
        StorageError: the database is away.
    """
    epochs = table_of(database.schema, "live_slots").c.epoch
    with database.transaction("read since when the head is followed") as connection:
        first: int | None = connection.execute(sa.select(sa.func.min(epochs))).scalar_one()
    return first
