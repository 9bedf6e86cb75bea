"""The newest stored epoch: sums of its groups, and its validators by group and status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from valmon_pipeline.storage.tables import table_of

EVERYBODY: Final = ("all", "all")
"""Category and value of the group of all watched validators."""

UNKNOWN_STATUS: Final = "unknown"
"""What validators are counted under whose status is not known."""

Group = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ValidatorFigures:
    """How one validator stands after the epoch; ``balance`` in gwei, None where it is not known."""

    validator_index: int
    pubkey: bytes
    balance: int | None
    missed_streak: int
    time_weighted_score: float | None


@dataclass(frozen=True, slots=True)
class StoredEpoch:
    """An epoch as it was materialized at a moment. Everything is by group, (category, value).

    ``sums`` are rows of ``epoch_summaries``; ``missing`` are the facts that are not known, under
    their stored names; ``statuses`` counts by status at the epoch's first slot (``unknown`` where
    it is not known); ``slashed`` counts; ``repeatedly_missed`` how many validators missed two or
    more attestations in a row, None while standings are not made. ``validators`` is empty unless
    asked for.
    """

    epoch: int
    materialized_at: datetime
    sums: Mapping[Group, Mapping[str, Any]]
    statuses: Mapping[Group, Mapping[str, int]]
    slashed: Mapping[Group, int]
    repeatedly_missed: Mapping[Group, int] | None
    validators: Sequence[ValidatorFigures]
    missing: frozenset[str] = frozenset()


def newest_epoch(
    connection: sa.Connection,
    schema: str,
    known: StoredEpoch | None = None,
    *,
    per_validator: bool = False,
) -> StoredEpoch | None:
    """The newest stored epoch, ``known`` if it still is the newest; None while nothing is stored.

    Its validators are counted, which for a whole network takes longer than a scrape should: it is
    done once per epoch and materialization.
    """
    epochs = table_of(schema, "network_epochs").c
    row = connection.execute(
        sa.select(epochs.epoch, epochs.materialized_at).order_by(epochs.epoch.desc()).limit(1)
    ).one_or_none()
    if row is None:
        return None
    epoch, materialized_at = row
    same = known is not None and known.epoch == epoch and known.materialized_at == materialized_at
    if known is not None and same and known.repeatedly_missed is not None:
        return known
    summaries = table_of(schema, "epoch_summaries")
    rows = connection.execute(sa.select(summaries).where(summaries.c.epoch == epoch)).mappings()
    statuses: dict[Group, dict[str, int]] = {}
    slashed: dict[Group, int] = {}
    for category, value, status, count, slashed_count in connection.execute(
        _statuses(schema, epoch)
    ):
        group = (category, value)
        statuses.setdefault(group, {})[status or UNKNOWN_STATUS] = count
        slashed[group] = slashed.get(group, 0) + slashed_count
    return StoredEpoch(
        epoch,
        materialized_at,
        {(row["category"], row["value"]): dict(row) for row in rows},
        statuses,
        slashed,
        _repeatedly_missed(connection, schema, epoch),
        _validators(connection, schema, epoch) if per_validator else [],
        _missing(connection, schema, epoch),
    )


def _missing(connection: sa.Connection, schema: str, epoch: int) -> frozenset[str]:
    sources = table_of(schema, "fact_sources").c
    facts = sa.select(sources.fact).where(sources.epoch == epoch, sources.source.is_(None))
    return frozenset(connection.execute(facts).scalars())


def of_groups(schema: str, rows: sa.Select[Any], epoch: int) -> sa.Subquery:
    """``rows``, which have a ``validator_index``, once for everybody and once per label that held
    in ``epoch``, with category and value."""
    members = rows.subquery("members").c
    labels = table_of(schema, "validator_labels").c
    everybody = sa.select(
        *members,
        sa.literal(EVERYBODY[0]).label("category"),
        sa.literal(EVERYBODY[1]).label("value"),
    )
    labelled = sa.select(*members, labels.category, labels.value).where(
        labels.validator_index == members.validator_index,
        labels.from_epoch <= epoch,
        sa.or_(labels.until_epoch.is_(None), labels.until_epoch > epoch),
    )
    return sa.union_all(everybody, labelled).subquery("of_groups")


def _at_first_slot(schema: str, epoch: int) -> sa.Select[Any]:
    """The snapshot of every watched validator at the first slot of the epoch."""
    snapshots = table_of(schema, "validator_snapshots").c
    first_slot = (
        sa.select(sa.func.min(snapshots.slot)).where(snapshots.epoch == epoch).scalar_subquery()
    )
    return sa.select(snapshots.validator_index, snapshots.status, snapshots.balance).where(
        snapshots.epoch == epoch, snapshots.slot == first_slot
    )


def _statuses(schema: str, epoch: int) -> sa.Select[Any]:
    validators = table_of(schema, "validators").c
    members = of_groups(schema, _at_first_slot(schema, epoch), epoch).c
    return (
        sa.select(
            members.category,
            members.value,
            members.status,
            sa.func.count(),
            sa.func.count().filter(validators.slashed),
        )
        .outerjoin_from(
            members.status.table,
            validators.slashed.table,
            validators.validator_index == members.validator_index,
        )
        .group_by(members.category, members.value, members.status)
    )


def _repeatedly_missed(
    connection: sa.Connection, schema: str, epoch: int
) -> dict[Group, int] | None:
    standings = table_of(schema, "validator_standings").c
    of_epoch = sa.select(standings.validator_index, standings.missed_streak).where(
        standings.epoch == epoch
    )
    members = of_groups(schema, of_epoch, epoch).c
    rows = connection.execute(
        sa.select(
            members.category,
            members.value,
            sa.func.count().filter(members.missed_streak >= 2),
        ).group_by(members.category, members.value)
    )
    return {(category, value): count for category, value, count in rows} or None


def _validators(connection: sa.Connection, schema: str, epoch: int) -> list[ValidatorFigures]:
    validators = table_of(schema, "validators").c
    standings = table_of(schema, "validator_standings").c
    snapshot = _at_first_slot(schema, epoch).subquery("snapshot").c
    rows = connection.execute(
        sa.select(
            snapshot.validator_index,
            validators.pubkey,
            snapshot.balance,
            standings.missed_streak,
            standings.time_weighted_score,
        )
        .where(
            validators.validator_index == snapshot.validator_index,
            standings.validator_index == snapshot.validator_index,
            standings.epoch == epoch,
        )
        .order_by(snapshot.validator_index)
    )
    return [ValidatorFigures(*row) for row in rows]
