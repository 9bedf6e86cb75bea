"""The one typed model of everything that can be set."""

from __future__ import annotations

import os
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Self

import platformdirs
from pydantic import Field, model_validator

from valmon_pipeline.config.alerts import AlertSettings
from valmon_pipeline.config.beacon_nodes import (
    BURST,
    IN_FLIGHT,
    LONG_FORM,
    REQUESTS_PER_SECOND,
    SHORT_FORM,
    TIMEOUT,
    BeaconNode,
    BeaconNodeSettings,
)
from valmon_pipeline.config.field_types import (
    ArchiveUrl,
    CalendarDate,
    DatabaseUrl,
    HomeDirectory,
    NodeUrl,
    Number,
    OneOf,
    RetentionDays,
    SchemaName,
    StartEpoch,
    WholeNumber,
    refuse,
)
from valmon_pipeline.config.labels import Switch
from valmon_pipeline.config.secret_url import SecretUrl
from valmon_pipeline.config.section import Section
from valmon_pipeline.config.validators import ValidatorEntry, WatchedKey
from valmon_pipeline.config.watch_list import WatchList
from valmon_pipeline.scoring.health import HealthRules
from valmon_pipeline.scoring.standings import StandingRules


def default_home() -> Path:
    """Return the directory for valmon's data among this user's application data."""
    return platformdirs.user_data_path("valmon")


class RateLimitSettings(Section):
    """How fast a beacon node may be asked, by all processes together."""

    requests_per_second: Annotated[float, REQUESTS_PER_SECOND] = Field(
        50.0,
        description="Requests a second to one beacon node, in the long run, by all processes "
        "together.",
    )
    burst: Annotated[int, BURST] = Field(
        100, description="Requests that may be sent at once after a pause."
    )


class HttpSettings(Section):
    """Connections to beacon nodes."""

    timeout_seconds: Annotated[float, TIMEOUT] = Field(
        10.0, description="How long one request to a beacon node may take before it is repeated."
    )
    max_idle_conns: Annotated[int, WholeNumber(0, 1000)] = Field(
        20, description="Idle connections to a beacon node that are kept open for the next request."
    )


class FailoverSettings(Section):
    """When another beacon node of the list takes over."""

    max_slots_behind: Annotated[int, WholeNumber(0, 1024)] = Field(
        4,
        description="A beacon node whose head is further behind that of another one is not asked.",
    )
    failures: Annotated[int, WholeNumber(1, 1000)] = Field(
        3,
        description="Failures in a row after which a beacon node is left alone while others "
        "answer.",
    )
    cool_down_seconds: Annotated[float, Number(0.1, 86_400, "seconds")] = Field(
        30.0, description="How long it is left alone before it is tried again."
    )
    probe_seconds: Annotated[float, Number(0.5, 20, "seconds")] = Field(
        10.0,
        description="How long a beacon node may take to say how it is, and then to answer a "
        "sensor. A node that hangs costs as long.",
    )


class UpSettings(Section):
    """How `valmon up` starts."""

    start_timeout_seconds: Annotated[float, Number(10, 3600, "seconds")] = Field(
        300.0,
        description="How long each process of `valmon up` may take to start. It never waits for a "
        "beacon node.",
    )


class ArchiveSettings(Section):
    """Where beacon nodes' answers about finalized epochs are kept."""

    url: Annotated[SecretUrl | None, ArchiveUrl()] = Field(
        None,
        description="Directory or bucket in which the answers about every finalized epoch are "
        "kept, compressed. Without it none are kept.",
    )


class DatabaseSettings(Section):
    """Where and how results are stored."""

    url: Annotated[SecretUrl | None, DatabaseUrl()] = Field(
        None,
        description="PostgreSQL 15 or newer to store everything in. "
        "Without it valmon runs a PostgreSQL of its own under `home`.",
    )
    dagster_url: Annotated[SecretUrl | None, DatabaseUrl()] = Field(
        None,
        description="PostgreSQL database for Dagster's own runs and events. "
        "Without it: a database beside `database.url`, named after it with `_dagster` at the end.",
    )
    pool_size: Annotated[int, WholeNumber(1, 100)] = Field(
        5, description="Database connections a process keeps open."
    )
    max_overflow: Annotated[int, WholeNumber(0, 100)] = Field(
        5, description="Connections a process may open beyond `pool_size` when all are in use."
    )
    pool_timeout_seconds: Annotated[float, Number(0.1, 3600, "seconds")] = Field(
        30.0, description="How long to wait for a free connection of the pool."
    )
    connect_timeout_seconds: Annotated[int, WholeNumber(1, 300)] = Field(
        10, description="How long connecting to the database may take, in seconds."
    )
    statement_timeout_seconds: Annotated[int, WholeNumber(1, 86_400)] = Field(
        300, description="How long one database statement may take, in seconds."
    )


class BackfillSettings(Section):
    """How history is loaded."""

    max_epochs_per_run: Annotated[int, WholeNumber(1, 10_000)] = Field(
        64,
        description="Epochs that one Dagster run of a backfill takes at most; fewer if many "
        "validators are watched. A run holds them in memory together.",
    )


_FOR_LIVE_RUNS: Final = 2
_MOST_BACKFILL_RUNS: Final = 4


class RunSettings(Section):
    """Limits on Dagster runs at the same time, so that live runs never wait for a backfill."""

    max_backfill: Annotated[int, WholeNumber(0, 1000)] = Field(
        0,
        description="Runs of Dagster backfills that work at the same time; others wait in the "
        "queue. 0: as many as there are cores, but at most 4.",
    )
    max_concurrent: Annotated[int, WholeNumber(0, 1000)] = Field(
        0,
        description="Runs of all kinds that work at the same time, about 250 MB each. 0: "
        "`runs.max_backfill` and two more, one for the newest epoch and one that makes up for "
        "missed ones. It cannot be less.",
    )

    @model_validator(mode="after")
    def _room_for_live_runs(self) -> Self:
        if 0 < self.max_concurrent < self.backfill_limit + _FOR_LIVE_RUNS:
            refuse(
                "max_concurrent must be at least max_backfill + 2 "
                f"(here {self.backfill_limit + _FOR_LIVE_RUNS}), so that runs for the newest epoch "
                "never wait for a backfill"
            )
        return self

    @property
    def backfill_limit(self) -> int:
        """``max_backfill``, as a number of runs."""
        return self.max_backfill or min(_MOST_BACKFILL_RUNS, os.cpu_count() or 1)

    @property
    def limit(self) -> int:
        """``max_concurrent``, as a number of runs."""
        return self.max_concurrent or self.backfill_limit + _FOR_LIVE_RUNS


class CatchUpSettings(Section):
    """How epochs that were missed, while valmon or its node was down, are made up for."""

    max_epochs_per_tick: Annotated[int, WholeNumber(1, 225)] = Field(
        32,
        description="Missed epochs that are requested at once, oldest first; the newest epoch "
        "never waits for them.",
    )


class MaintenanceSettings(Section):
    """How Dagster's own storage is kept small."""

    dagster_days: Annotated[int, WholeNumber(1, 3650)] = Field(
        30,
        description="Days that Dagster's runs, events and check executions are kept. What shows "
        "an epoch as materialized stays as long as the epoch.",
    )


class MetricsSettings(Section):
    """What ``valmon metrics`` serves, and when it says that valmon is not ready."""

    port: Annotated[int, WholeNumber(1, 65_535)] = Field(
        9464,
        description="Port that /metrics, /healthz and /readyz are served on; `valmon up` takes "
        "another one if it is taken.",
    )
    max_head_lag_slots: Annotated[int, WholeNumber(1, 100_000)] = Field(
        8,
        description="/readyz fails when the head is further behind the clock, or was not looked "
        "at for as long.",
    )
    max_stored_lag_epochs: Annotated[int, WholeNumber(2, 100_000)] = Field(
        5,
        description="/readyz fails when the newest stored epoch is further behind the clock; "
        "when all is well it is 2 or 3.",
    )
    per_validator: Annotated[bool, Switch()] = Field(
        False,
        description="Whether /metrics has gauges per watched validator, too: three series each.",
    )


class LogSettings(Section):
    """What processes log."""

    format: Annotated[str, OneOf(("text", "json"))] = Field(
        "text",
        description="`json`: every line that a process of `valmon up` logs is a JSON object, see "
        "[logs](observability.md#logs).",
    )

    @property
    def as_json(self) -> bool:
        """Whether lines are JSON objects."""
        return self.format == "json"


class ScoringSettings(Section):
    """How standings are computed; ``valmon rescore`` applies changes to what is stored."""

    half_life_epochs: Annotated[float, Number(0.1, 100_000, "epochs")] = Field(
        StandingRules().half_life_epochs,
        description="An epoch that long ago counts half as much in `time_weighted_score` as the "
        "newest one.",
    )
    window_epochs: Annotated[int, WholeNumber(1, 10_000)] = Field(
        StandingRules().window_epochs,
        description="Epochs that a validator's standing is made from, the newest one included. "
        "Making standings needs 9 bytes of memory per validator and epoch of the window.",
    )
    degraded_below: Annotated[float, Number(-10, 1)] = Field(
        HealthRules().degraded_below,
        description="A time-weighted score below this makes a validator degraded.",
    )
    critical_below: Annotated[float, Number(-10, 1)] = Field(
        HealthRules().critical_below,
        description="A time-weighted score below this makes a validator critical.",
    )
    degraded_missed_streak: Annotated[int, WholeNumber(1, 10_000)] = Field(
        HealthRules().degraded_missed_streak,
        description="So many attestations missed in a row make a validator degraded.",
    )
    critical_missed_streak: Annotated[int, WholeNumber(1, 10_000)] = Field(
        HealthRules().critical_missed_streak,
        description="So many attestations missed in a row make a validator critical.",
    )
    minimum_judged_epochs: Annotated[int, WholeNumber(1, 10_000)] = Field(
        HealthRules().minimum_judged_epochs,
        description="With fewer epochs in the window that could be judged, the score makes nobody "
        "degraded or critical.",
    )

    @model_validator(mode="after")
    def _critical_is_worse(self) -> Self:
        if self.critical_below > self.degraded_below:
            refuse("critical_below must not be above degraded_below")
        if self.critical_missed_streak < self.degraded_missed_streak:
            refuse("critical_missed_streak must not be less than degraded_missed_streak")
        for name in ("critical_missed_streak", "minimum_judged_epochs"):
            if getattr(self, name) > self.window_epochs:
                refuse(f"{name} must not be more than window_epochs, or it is never reached")
        return self

    @property
    def rules(self) -> StandingRules:
        """The rules in the words of the scoring package."""
        return StandingRules(
            half_life_epochs=self.half_life_epochs,
            window_epochs=self.window_epochs,
            health=HealthRules(
                degraded_below=self.degraded_below,
                critical_below=self.critical_below,
                degraded_missed_streak=self.degraded_missed_streak,
                critical_missed_streak=self.critical_missed_streak,
                minimum_judged_epochs=self.minimum_judged_epochs,
            ),
        )


class HistorySettings(Section):
    """History loaded by UTC day."""

    # no beacon chain is older, and a day too early is a partition too many in the UI
    first_day: Annotated[date, CalendarDate(date(2020, 1, 1))] = Field(
        date(2020, 12, 1),
        description="First UTC day that the Dagster UI offers for loading history by day.",
    )


class Settings(Section):
    """Everything that can be set, with its default; made by :func:`load_settings`."""

    network: Annotated[str, SchemaName()] = Field(
        "mainnet",
        description="Name of the network. It is also the PostgreSQL schema of its tables, "
        "so several networks fit in one database.",
    )
    beacon_node_url: tuple[Annotated[SecretUrl, NodeUrl()], ...] = Field(
        (),
        description="Address of the beacon node's API, or a list of them in order of preference. "
        "Credentials in it are never printed.",
    )
    beacon_nodes: tuple[BeaconNodeSettings, ...] = Field(
        (),
        description="Instead of `beacon_node_url`: beacon nodes in order of preference, with "
        "settings of their own, see [below](#beacon-nodes).",
    )
    validators: tuple[ValidatorEntry, ...] = Field(
        (), description="Validators to watch, see [below](#validators)."
    )
    watched_keys: tuple[WatchedKey, ...] = Field(
        (),
        description="Validators to watch, in the form of "
        "[eth-validator-watcher](#a-file-of-eth-validator-watcher).",
    )
    watch: Annotated[str, OneOf(("listed", "network"))] = Field(
        "listed",
        description="`network` watches every validator of the network; those listed keep their "
        "labels.",
    )
    polling_interval_slots: Annotated[int, WholeNumber(1, 1024)] = Field(
        8, description="Slots between two live snapshots of the watched validators."
    )
    worker_pool_size: Annotated[int, IN_FLIGHT] = Field(
        10,
        description="Requests to a beacon node that may be under way at the same time, by all "
        "processes together.",
    )
    registry_fetch_limit: Annotated[int, WholeNumber(0, 10_000_000)] = Field(
        20_000,
        description="Up to this many validators on the network, the whole registry is read, so "
        "that ideal rewards are computed exactly even for a short watch list.",
    )
    whole_network: Annotated[str, OneOf(("off", "distribution", "full"))] = Field(
        "off",
        description="`distribution`: for every epoch the beacon state is read, too (about 0.3 GB "
        "on mainnet, from the node's debug endpoint), so that bands, quantiles, ranks among the "
        "whole network and ideal rewards are exact for any watch list. `full`: what it tells of "
        "every validator of the network is stored, too.",
    )
    beacon_state_limit_mb: Annotated[int, WholeNumber(1, 16_384)] = Field(
        1024,
        description="Longest beacon state that is taken from a node, in MB; a process holds one of "
        "them at a time.",
    )
    block_events: Annotated[str, OneOf(("watched", "everyone"))] = Field(
        "watched",
        description="Whose slashings, exits, withdrawals, deposits and requests are stored: those "
        "of watched validators, or `everyone`'s. What moved balances of watched validators is "
        "always stored.",
    )
    start_epoch: Annotated[int | None, StartEpoch()] = Field(
        None,
        description="The first epoch to have. Every epoch since then that is missing is "
        "materialized by itself, as far back as `retention_days` reaches; `newest` means since "
        "the oldest epoch that is stored, and on the first start the newest epoch.",
    )
    retention_days: Annotated[int | None, RetentionDays()] = Field(
        90, description="Days of history to keep; `forever` keeps all."
    )
    home: Annotated[Path, HomeDirectory()] = Field(
        default_factory=default_home,
        description="Directory of all state: the embedded database, Dagster's files and logs.",
    )
    rate_limit: RateLimitSettings = Field(default_factory=RateLimitSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    failover: FailoverSettings = Field(default_factory=FailoverSettings)
    up: UpSettings = Field(default_factory=UpSettings)
    archive: ArchiveSettings = Field(default_factory=ArchiveSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    backfill: BackfillSettings = Field(default_factory=BackfillSettings)
    runs: RunSettings = Field(default_factory=RunSettings)
    catch_up: CatchUpSettings = Field(default_factory=CatchUpSettings)
    history: HistorySettings = Field(default_factory=HistorySettings)
    maintenance: MaintenanceSettings = Field(default_factory=MaintenanceSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    logs: LogSettings = Field(default_factory=LogSettings)
    scoring: ScoringSettings = Field(default_factory=ScoringSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)

    @model_validator(mode="before")
    @classmethod
    def _one_node_is_a_list_of_one(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("beacon_node_url"), str | SecretUrl):
            return {**value, "beacon_node_url": [value["beacon_node_url"]]}
        return value

    @property
    def nodes(self) -> tuple[BeaconNode, ...]:
        """Beacon nodes in order of preference, of either form; empty when none is configured."""
        written = self.beacon_nodes or [BeaconNodeSettings(url=url) for url in self.beacon_node_url]
        return tuple(map(self._with_defaults, written))

    def _with_defaults(self, node: BeaconNodeSettings) -> BeaconNode:
        limit, default = node.rate_limit, self.rate_limit
        return BeaconNode(
            url=node.url,
            name=node.name,
            requests_per_second=limit.requests_per_second or default.requests_per_second,
            burst=limit.burst or default.burst,
            max_in_flight=node.max_in_flight or self.worker_pool_size,
            timeout_seconds=node.timeout_seconds or self.http.timeout_seconds,
            archive=node.archive,
        )

    def with_node(self, url: SecretUrl) -> Settings:
        """The same with one node in place of all others."""
        return self.model_copy(update={SHORT_FORM: (url,), LONG_FORM: ()})

    @property
    def beacon_node_urls(self) -> tuple[SecretUrl, ...]:
        """Addresses of the beacon nodes, of either form."""
        return tuple(node.url for node in self.nodes)

    @cached_property
    def watch_list(self) -> WatchList:
        """The validators to watch, merged from ``validators``, ``watched_keys`` and ``watch``."""
        entries = (*self.validators, *self.watched_keys)
        return WatchList.of(entries, everyone=self.watch == "network")
