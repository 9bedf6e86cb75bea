"""The sensor that has epochs read again of which not everything is known.

What one node does not tell, another one may, or the same one later: an archive was added, a state
is there again. An epoch is asked for again after 1, 2, 4 … further epochs, a bounded number of
times, and from the start once the configured nodes are others.
"""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
import json
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

import dagster as dg

from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.assets.run_tags import COMPLETION
from valmon_pipeline.automation.catch_up import Attempt
from valmon_pipeline.automation.epoch_runs import epoch_run
from valmon_pipeline.automation.requested_runs import RequestLedger
from valmon_pipeline.automation.under_way import cancel_superseded_runs, read_under_way
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


def plan_completion(
    incomplete: Iterable[int],
    newest: int,
    *,
    under_way: Collection[int],
    attempts: Mapping[int, Attempt],
    limit: int,
) -> list[int]:
    """Choose at most ``limit`` of the ``incomplete`` epochs, in their order.

    ``newest`` is the newest stored epoch, ``under_way`` are epochs that runs hold, or that were
    requested; ``attempts`` those that left an epoch incomplete.
    """
    chosen: list[int] = []
    for epoch in incomplete:
        attempt = attempts.get(epoch)
        is_due = attempt is None or (attempt.count < ATTEMPTS and attempt.is_over(newest))
        if is_due and epoch not in under_way and len(chosen) < limit:
            chosen.append(epoch)
    return chosen


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
        ledger = RequestLedger.parse(remembered)
        if remembered.get("nodes") != nodes:
            ledger = replace(ledger, attempts={})
        try:
            database, chain = pipeline.warehouse.database, pipeline.warehouse.network()
            newest = last_stored_epoch(database)
            if newest is None:
                return dg.SensorResult(skip_reason="no epoch is stored yet")
            if not incomplete_epochs(database, 0, newest, limit=1):
                cursor = json.dumps({"nodes": nodes, "number": ledger.number})
                return dg.SensorResult(skip_reason="all complete", cursor=cursor)
            for run_id in cancel_superseded_runs(context.instance, network, chain):
                context.log.info(f"run {run_id} is canceled: its epochs are asked for elsewhere")
            # Before the tables: what ends in between is complete, and not requested again.
            under_way = read_under_way(context.instance, network, chain)
            found = [one.epoch for one in incomplete_epochs(database, 0, newest, EPOCHS_LOOKED_AT)]
        except ValmonError as error:
            context.log.warning(str(error))
            return dg.SensorResult(skip_reason=str(error))
        ledger = ledger.settled(
            context.instance, under_way.run_keys, wanted=found, newest=newest, now=time.time()
        )
        chosen = plan_completion(
            found,
            newest,
            under_way=under_way.epochs | ledger.epochs,
            attempts=ledger.attempts,
            limit=RUNS_PER_TICK,
        )
        if chosen:
            register_epochs(context.instance, network, chosen)
        key = f"at:{newest}:{ledger.number}"
        requests = [
            epoch_run(
                network,
                epoch,
                COMPLETION,
                f"completion:{network}:{epoch}:{key}",
                reason="fact known later",
            )
            for epoch in sorted(chosen)
        ]
        ledger = ledger.with_requests(requests, time.time())
        cursor = json.dumps({"nodes": nodes, **ledger.as_json()})
        if not requests:
            skip = f"{len(found)} epochs are incomplete; none is due"
            return dg.SensorResult(skip_reason=skip, cursor=cursor)
        return dg.SensorResult(run_requests=requests, cursor=cursor)

    return sensor
