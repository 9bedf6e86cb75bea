"""Dagster's storage in PostgreSQL, over one small pool of connections per process.

It takes the place of ``storage: postgres`` in ``dagster.yaml``, which opens a connection for every
call: 23 a second with valmon at rest, and 2.9 CPU-seconds for the run of one epoch, against 0.65 a
second and 0.7 CPU-seconds with a pool. What Dagster has was tried: ``optimize_for_webserver``
pools, but only the webserver calls it, and it makes three pools for each instance, while the code
server makes an instance for every tick of a sensor. The pool of ``storage: postgres`` cannot be
configured (dagster-io/dagster#33935).

The list of a definition's dynamic partition keys is kept for two seconds: Dagster reads it whole
about twice per input of a step, and 20,250 keys take 20 ms each time (a run of 32 epochs: 5.4
CPU-seconds without, 1.25 with it). Before it is used again, the newest key is looked up, so that a
key is visible as soon as any process has added it. A key that another process has deleted may be
listed for two seconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import dagster as dg
import sqlalchemy as sa
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.event_log.schema import DynamicPartitionsTable
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from dagster_postgres import (
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_postgres.utils import retry_pg_connection_fn, set_pg_statement_timeout

POOL_SIZE: Final = 4
"""Connections that a process keeps open: what the daemon's threads use at the same time."""
MAX_OVERFLOW: Final = 20
"""Connections beyond those, for a burst; each is closed when it is given back. As many as Dagster
allows its webserver."""
RECYCLE_SECONDS: Final = 3600
KEYS_SECONDS: Final = 2.0
_TABLES: Final = frozenset({"event_logs", "runs", "instance_info", "jobs"})
"""What Dagster's storages look for, each by itself, to find out whether to make their tables."""


@dataclass(frozen=True, slots=True)
class _PoolOptions:
    """Connections of one kind; the same options share a pool."""

    url: str = field(repr=False)
    statement_timeout_ms: int | None = None
    max_overflow: int = MAX_OVERFLOW
    recycle_seconds: int = RECYCLE_SECONDS


@dataclass(frozen=True, slots=True)
class _KeyList:
    """Keys of one definition, the storage id of the newest one, and when they were read."""

    keys: tuple[str, ...]
    newest: int | None
    read_at: float


class _ProcessPools:
    """The engines of this process, and what it knows of partition keys.

    They belong to the process, not to an instance, since Dagster makes instances all the time. A
    process that was forked starts with empty pools: connections cannot be shared with the parent.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: dict[_PoolOptions, sa.Engine] = {}
        self._keys: dict[tuple[str, str], _KeyList] = {}
        self._deletions = 0
        self._facts: set[tuple[str, ...]] = set()
        os.register_at_fork(
            before=self._lock.acquire,
            after_in_parent=self._lock.release,
            after_in_child=self._begin_in_child,
        )

    def engine(self, options: _PoolOptions) -> sa.Engine:
        """The engine with these options, made at the first use."""
        with self._lock:
            engine = self._engines.get(options)
            if engine is None:
                engine = self._engines[options] = _engine_of(options)
            return engine

    def holds(self, fact: tuple[str, ...], ask: Callable[[], bool]) -> bool:
        """Whether something is so that never ceases to be: asked until it is."""
        if fact in self._facts:
            return True
        if not ask():
            return False
        self._facts.add(fact)
        return True

    @property
    def deletions(self) -> int:
        """How often keys were deleted here: what was read before may hold deleted keys."""
        return self._deletions

    def keys(self, url: str, name: str, newest: int | None) -> tuple[str, ...] | None:
        """Keys that were read lately, if ``newest`` is still the newest of them."""
        with self._lock:
            known = self._keys.get((url, name))
        if known is None or known.newest != newest:
            return None
        return known.keys if time.monotonic() - known.read_at < KEYS_SECONDS else None

    def keep_keys(self, url: str, name: str, keys: _KeyList, deletions: int) -> None:
        """Keep keys, unless some were deleted since ``deletions`` was looked at."""
        with self._lock:
            if deletions == self._deletions:
                self._keys[url, name] = keys

    def forget_keys(self) -> None:
        """Forget all keys: some were deleted."""
        with self._lock:
            self._deletions += 1
            self._keys.clear()

    def _begin_in_child(self) -> None:
        for engine in self._engines.values():
            engine.dispose(close=False)
        self._lock.release()


def _engine_of(options: _PoolOptions) -> sa.Engine:
    # Asked before each use whether it still lives: after a restart of the database the first call
    # would fail otherwise. The newest connection is used first, so that others are left in peace.
    engine = sa.create_engine(
        options.url,
        isolation_level="AUTOCOMMIT",
        pool_size=POOL_SIZE,
        max_overflow=options.max_overflow,
        pool_recycle=options.recycle_seconds,
        pool_pre_ping=True,
        pool_use_lifo=True,
    )
    timeout = options.statement_timeout_ms
    if timeout is not None:
        sa.event.listen(
            engine, "connect", lambda connection, _: set_pg_statement_timeout(connection, timeout)
        )
    return engine


_pools: Final = _ProcessPools()


def forget_partition_keys() -> None:
    """Have the keys read again that this process knows: some were deleted without Dagster."""
    _pools.forget_keys()


def _asked_until_true(question: Callable[..., bool]) -> Callable[..., bool]:
    """A question about tables, columns and finished migrations, which do not go away again.

    Dagster asks some of them in every call: of the 75 statements a second of a service at rest they
    were 20, and the dearest.
    """
    name = question.__qualname__

    def ask(self: _Pooled, *of: str) -> bool:
        return _pools.holds((self.postgres_url, name, *of), lambda: question(self, *of))

    return ask


class _Pooled:
    """Storage whose engine is that of the process. Dagster's classes have it as ``_engine``."""

    postgres_url: str
    _engine: sa.Engine

    def _use_pool(self) -> None:
        self._engine = _pools.engine(_PoolOptions(self.postgres_url))

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        """Give up statements after ``statement_timeout`` ms, as Dagster's webserver wants it."""
        before = self._engine
        self._engine = _pools.engine(
            _PoolOptions(self.postgres_url, statement_timeout, max_overflow, pool_recycle)
        )
        before.dispose()  # its connections would idle from now on


class PooledRunStorage(_Pooled, PostgresRunStorage):
    """Runs, daemons' heartbeats and backfills."""

    def __init__(self, postgres_url: str, should_autocreate_tables: bool) -> None:
        super().__init__(postgres_url, should_autocreate_tables)
        self._use_pool()

    has_built_index = _asked_until_true(PostgresRunStorage.has_built_index)
    has_run_stats_index_cols = _asked_until_true(PostgresRunStorage.has_run_stats_index_cols)


class PooledScheduleStorage(_Pooled, PostgresScheduleStorage):
    """Sensors' and schedules' states and ticks."""

    def __init__(self, postgres_url: str, should_autocreate_tables: bool) -> None:
        super().__init__(postgres_url, should_autocreate_tables)
        self._use_pool()

    has_built_index = _asked_until_true(PostgresScheduleStorage.has_built_index)
    has_instigators_table = _asked_until_true(PostgresScheduleStorage.has_instigators_table)


class PooledEventLogStorage(_Pooled, PostgresEventLogStorage):
    """Events, assets, and partition keys, whose lists are kept for a moment."""

    def __init__(self, postgres_url: str, should_autocreate_tables: bool) -> None:
        super().__init__(postgres_url, should_autocreate_tables)
        self._use_pool()

    has_secondary_index = _asked_until_true(PostgresEventLogStorage.has_secondary_index)
    has_table = _asked_until_true(PostgresEventLogStorage.has_table)

    def get_dynamic_partitions(self, partitions_def_name: str) -> Sequence[str]:
        """The keys of a definition in the order of insertion."""
        # The newest key is looked up before the list is read: one that is added in between is in
        # the list, and has it read once more.
        newest = self._newest_key(partitions_def_name)
        known = _pools.keys(self.postgres_url, partitions_def_name, newest)
        if known is not None:
            return list(known)
        deletions = _pools.deletions
        read_at = time.monotonic()
        keys = super().get_dynamic_partitions(partitions_def_name)
        kept = _KeyList(tuple(keys), newest, read_at)
        _pools.keep_keys(self.postgres_url, partitions_def_name, kept, deletions)
        return keys

    def delete_dynamic_partition(self, partitions_def_name: str, partition_key: str) -> None:
        """Delete a key; no list of this process has it afterwards."""
        super().delete_dynamic_partition(partitions_def_name, partition_key)
        _pools.forget_keys()

    def _newest_key(self, name: str) -> int | None:
        query = (
            sa.select(DynamicPartitionsTable.c.id)
            .where(DynamicPartitionsTable.c.partitions_def_name == name)
            .order_by(DynamicPartitionsTable.c.id.desc())
            .limit(1)
        )
        with self.index_connection() as connection:
            newest: int | None = connection.execute(query).scalar()
            return newest


def _table_names(engine: sa.Engine) -> Sequence[str]:
    names: Sequence[str] = retry_pg_connection_fn(lambda: sa.inspect(engine).get_table_names())
    return names


class PooledPostgresStorage(DagsterStorage[dg.DagsterInstance], ConfigurableClass):
    """Dagster's three storages in one database, over one pool.

    In ``dagster.yaml`` it is ``storage: custom:`` with ``postgres_url``, which must begin with
    ``postgresql+psycopg2://``. Tables that are missing are made; a process asks for them once, not
    three times for each instance.
    """

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        engine = _pools.engine(_PoolOptions(postgres_url))
        missing = not _pools.holds(
            (postgres_url, "tables"), lambda: _TABLES.issubset(_table_names(engine))
        )
        self._run_storage = PooledRunStorage(postgres_url, missing)
        self._event_log_storage = PooledEventLogStorage(postgres_url, missing)
        self._schedule_storage = PooledScheduleStorage(postgres_url, missing)
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """The part of ``dagster.yaml`` that it was made from."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The keys of ``config`` in ``dagster.yaml``."""
        return {"postgres_url": dg.StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> Self:
        """Made by Dagster."""
        return cls(config_value["postgres_url"], inst_data)

    @property
    def run_storage(self) -> PooledRunStorage:
        """Runs."""
        return self._run_storage

    @property
    def event_log_storage(self) -> PooledEventLogStorage:
        """Events."""
        return self._event_log_storage

    @property
    def schedule_storage(self) -> PooledScheduleStorage:
        """Sensors and schedules."""
        return self._schedule_storage
