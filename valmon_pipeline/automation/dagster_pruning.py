"""Keep Dagster's own storage small: Dagster itself deletes ticks, nothing else, ever.

Its tables are pruned with SQL of ours, since its own way (``delete_run``) takes 19 ms per run, also
deletes the materializations that show an epoch as there, and leaves check executions behind. The
tests run it against the storage of the Dagster version in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final, Protocol, runtime_checkable

import dagster as dg
import sqlalchemy as sa

from valmon_pipeline.dagster_adapter.pooled_storage import forget_partition_keys
from valmon_pipeline.errors import StorageError
from valmon_pipeline.partitions import epoch_key, epoch_partitions, registered_epochs

MAX_EPOCH_KEYS: Final = 20_250
"""90 days of mainnet. Dagster's pages take under 0.4 s with as many keys, 10 s with 450,000."""
RUNS_AT_ONCE: Final = 500

_VACUUMED: Final = (
    *("event_logs", "runs", "run_tags", "asset_check_executions", "asset_event_tags"),
    *("dynamic_partitions", "job_ticks", "asset_keys"),
)


_ENDED_RUNS: Final = " ".join(
    [
        "SELECT run_id FROM runs",
        "WHERE status IN ('SUCCESS', 'FAILURE', 'CANCELED') AND create_timestamp < :before",
        "ORDER BY id LIMIT :limit",
    ]
)
# `partition` is NULL for assets without partitions; coalesce would not use the index.
_IS_NEWEST: Final = " ".join(
    [
        "(old.dagster_event_type = 'ASSET_MATERIALIZATION' AND NOT EXISTS (",
        "SELECT FROM event_logs AS newer WHERE newer.asset_key = old.asset_key",
        "AND newer.dagster_event_type = 'ASSET_MATERIALIZATION' AND newer.id > old.id",
        "AND (newer.partition = old.partition",
        "OR newer.partition IS NULL AND old.partition IS NULL)))",
    ]
)
_DELETE_RUN_EVENTS: Final = " ".join(
    ["DELETE FROM event_logs AS old WHERE old.run_id = ANY(:runs) AND NOT", _IS_NEWEST]
)
_DELETE_RUNLESS: Final = " ".join(
    [
        "DELETE FROM event_logs AS old WHERE old.run_id = '' AND old.timestamp < :before AND NOT",
        _IS_NEWEST,
    ]
)
_DELETE_CHECKS: Final = " ".join(
    [
        "DELETE FROM asset_check_executions AS old WHERE old.create_timestamp < :before",
        "AND EXISTS (SELECT FROM asset_check_executions AS newer",
        "WHERE newer.asset_key = old.asset_key AND newer.check_name = old.check_name",
        "AND newer.id > old.id)",
    ]
)
_DELETE_EVENT_TAGS: Final = " ".join(
    [
        "DELETE FROM asset_event_tags AS tags WHERE NOT EXISTS",
        "(SELECT FROM event_logs WHERE event_logs.id = tags.event_id)",
    ]
)


@dataclass(frozen=True, slots=True)
class Pruned:
    """How much was deleted of what."""

    runs: int
    events: int
    check_executions: int
    epoch_keys: int


@runtime_checkable
class _OnPostgres(Protocol):
    postgres_url: str


def prune(
    instance: dg.DagsterInstance, network: str, *, older_than: datetime, first_epoch: int | None
) -> Pruned:
    """Delete what ended before a moment, but never what shows a partition as materialized.

    Of every asset and partition the newest materialization stays, of every check the newest
    execution. Of the epochs' partition keys those before ``first_epoch`` (the oldest one that is
    still stored; None keeps them) and all but the newest 20,250 are deleted, with all their events.

    Raises:
        StorageError: Dagster's storage is away, or it is not PostgreSQL.
    """
    engine = _engine(instance)
    try:
        keys, key_events = _delete_keys(instance, engine, network, first_epoch)
        runs, run_events = _delete_runs(engine, older_than)
        with engine.begin() as connection:
            runless = connection.execute(sa.text(_DELETE_RUNLESS), _moment(older_than)).rowcount
            checks = connection.execute(sa.text(_DELETE_CHECKS), _moment(older_than)).rowcount
            connection.execute(sa.text(_DELETE_EVENT_TAGS))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in _VACUUMED:
                connection.exec_driver_sql(f"VACUUM (ANALYZE) {table}")
    except sa.exc.SQLAlchemyError as error:
        raise StorageError(
            f"Dagster's storage could not be pruned: {type(error).__name__}; see its log"
        ) from error
    finally:
        engine.dispose()
    return Pruned(runs, key_events + run_events + runless, checks, keys)


def describe(pruned: Pruned) -> str:
    """One line for logs."""
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in asdict(pruned).items())


def _engine(instance: dg.DagsterInstance) -> sa.Engine:
    storage = instance.event_log_storage
    if not isinstance(storage, _OnPostgres):
        raise StorageError(
            f"Dagster's storage is a {type(storage).__name__}: only PostgreSQL can be pruned"
        )
    return sa.create_engine(storage.postgres_url, poolclass=sa.NullPool)


def _delete_keys(
    instance: dg.DagsterInstance, engine: sa.Engine, network: str, first_epoch: int | None
) -> tuple[int, int]:
    registered = sorted(registered_epochs(instance, network))
    kept = {
        epoch
        for epoch in registered[-MAX_EPOCH_KEYS:]
        if first_epoch is None or epoch >= first_epoch
    }
    keys = [epoch_key(epoch) for epoch in registered if epoch not in kept]
    if not keys:
        return 0, 0
    with engine.begin() as connection:
        # One statement instead of one call per key (9 ms each).
        connection.execute(
            sa.text(
                "DELETE FROM dynamic_partitions "
                "WHERE partitions_def_name = :name AND partition = ANY(:keys)"
            ),
            {"name": epoch_partitions(network).name, "keys": keys},
        )
        events = connection.execute(
            sa.text(
                "DELETE FROM event_logs "
                "WHERE starts_with(asset_key, :prefix) AND partition = ANY(:keys)"
            ),
            # Not LIKE: to it, the _ of a network's name is any character.
            {"prefix": f'["{network}", ', "keys": keys},
        ).rowcount
    forget_partition_keys()
    return len(keys), events


def _delete_runs(engine: sa.Engine, older_than: datetime) -> tuple[int, int]:
    """Ended runs in batches, so that no transaction is long."""
    runs = events = 0
    while True:
        with engine.begin() as connection:
            ended: Sequence[str] = (
                connection.execute(
                    sa.text(_ENDED_RUNS), {**_moment(older_than), "limit": RUNS_AT_ONCE}
                )
                .scalars()
                .all()
            )
            if not ended:
                return runs, events
            parameters = {"runs": list(ended)}
            events += connection.execute(sa.text(_DELETE_RUN_EVENTS), parameters).rowcount
            connection.execute(sa.text("DELETE FROM runs WHERE run_id = ANY(:runs)"), parameters)
            runs += len(ended)


def _moment(moment: datetime) -> dict[str, datetime]:
    """Dagster's timestamps are UTC without saying so."""
    return {"before": moment.astimezone(UTC).replace(tzinfo=None)}
