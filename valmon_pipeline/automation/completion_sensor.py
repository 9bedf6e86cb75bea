"""The sensor that has epochs read again of which not everything is known.

What one node does not tell, another one may, or the same one later: an archive was added, a state
is there again. An epoch is asked for again after 1, 2, 4 … further epochs, a bounded number of
times, and from the start once the configured nodes are others.
"""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import dagster as dg

from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.automation.catch_up import Attempt, attempts_of, spans_of
from valmon_pipeline.automation.epoch_runs import COMPLETION, epoch_run, epochs_under_way
from valmon_pipeline.config import Settings
from valmon_pipeline.errors import ValmonError
from valmon_pipeline.partitions import register_epochs
from valmon_pipeline.storage.finality import last_stored_epoch
from valmon_pipeline.storage.queries.incomplete_epochs import incomplete_epochs

TICK_SECONDS: Final = 60
ATTEMPTS: Final = 8
"""Over about two days of mainnet's epochs; then only another node is a reason to try again."""
EPOCHS_LOOKED_AT: Final = 2_000
RUNS_PER_TICK: Final = 4


@dataclass(frozen=True, slots=True)
class CompletionPlan:
    """The epochs to read again now, newest first, and what to remember for the next plan."""

    epochs: tuple[int, ...]
    attempts: Mapping[int, Attempt]


def plan_completion(
    incomplete: Iterable[int],
    newest: int,
    *,
    under_way: Collection[int],
    attempts: Mapping[int, Attempt],
    limit: int,
) -> CompletionPlan:
    """Choose at most ``limit`` of the ``incomplete`` epochs.

    ``newest`` is the newest stored epoch, ``under_way`` are the epochs of runs that are queued or
    running, ``attempts`` those of the plan before.
    """
    remembered: dict[int, Attempt] = {}
    chosen: list[int] = []
    for epoch in incomplete:
        attempt = attempts.get(epoch) or Attempt(0, newest)
        is_due = attempt.count == 0 or attempt.is_over(newest)
        if attempt.count < ATTEMPTS and is_due and epoch not in under_way and len(chosen) < limit:
            chosen.append(epoch)
            attempt = Attempt(attempt.count + 1, newest)
        if attempt.count:
            remembered[epoch] = attempt
    return CompletionPlan(tuple(chosen), remembered)


def completion_sensor(settings: Settings, job_name: str) -> dg.SensorDefinition:
    """The sensor ``completion_sensor``, which starts runs of the job that materializes epochs."""
    network = settings.network
    nodes = [node.name for node in settings.nodes]

    @dg.sensor(
        name="completion_sensor",
        job_name=job_name,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"pipeline"},
        description="Reads epochs again of which not everything is known, from every node.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        pipeline: Pipeline = context.resources.pipeline
        remembered = json.loads(context.cursor or "{}")
        attempts = attempts_of(remembered.get("attempts", []))
        if remembered.get("nodes") != nodes:
            attempts = {}
        try:
            database = pipeline.warehouse.database
            newest = last_stored_epoch(database)
            if newest is None:
                return dg.SensorResult(skip_reason="no epoch is stored yet")
            found = incomplete_epochs(database, 0, newest, EPOCHS_LOOKED_AT)
        except ValmonError as error:
            context.log.warning(str(error))
            return dg.SensorResult(skip_reason=str(error))
        plan = plan_completion(
            [one.epoch for one in found],
            newest,
            under_way=epochs_under_way(context.instance, network) if found else (),
            attempts=attempts,
            limit=RUNS_PER_TICK,
        )
        cursor = json.dumps({"nodes": nodes, "attempts": spans_of(plan.attempts)})
        if not plan.epochs:
            skip = f"{len(found)} epochs are incomplete; none is due" if found else "all complete"
            return dg.SensorResult(skip_reason=skip, cursor=cursor)
        register_epochs(context.instance, network, sorted(plan.epochs))
        requests = [
            epoch_run(
                network,
                epoch,
                COMPLETION,
                f"completion:{network}:{epoch}:{plan.attempts[epoch].count}:at:{newest}",
                reason="fact known later",
            )
            for epoch in sorted(plan.epochs)
        ]
        return dg.SensorResult(run_requests=requests, cursor=cursor)

    return sensor
