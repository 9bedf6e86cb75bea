"""The sensor that goes on after a batch with a bad epoch: the stretches around it run again.

Nothing of a batch is stored if one of its epochs fails. What was read of the others is kept, so
that they are not asked for again. The bad epochs are left to ``epoch_sensor``, which tries them
ever later.
"""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
from collections.abc import Sequence
from typing import Any, Final

import dagster as dg

from valmon_pipeline.assets.failed_epochs import epochs_blamed
from valmon_pipeline.assets.run_tags import KEPT_TAGS, SPLIT_TAG
from valmon_pipeline.automation.under_way import belongs_to
from valmon_pipeline.partitions import (
    contiguous_chunks,
    epochs_of_run_tags,
    range_tags,
    registered_epochs,
    stretches_around,
)

TICK_SECONDS: Final = 15
"""Well within ``under_way.SPLIT_WAIT``, after which the epochs of a failed batch are missing."""


def split_sensor(network: str, jobs: Sequence[Any]) -> dg.SensorDefinition:
    """The sensor ``split_sensor``. ``jobs`` (``dg.define_asset_job``) run over epochs; the first of
    them runs what is left of a backfill from the UI, which is of no job of ours."""
    names = [job.name for job in jobs]

    @dg.run_failure_sensor(
        name="split_sensor",
        request_jobs=list(jobs),
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs the epochs of a failed batch again, around those that failed.",
    )
    def sensor(context: dg.RunFailureSensorContext) -> list[dg.RunRequest] | dg.SkipReason:
        run = context.dagster_run
        if not belongs_to(run, network):
            return dg.SkipReason("the run is of another network, or of none")
        epochs = epochs_of_run_tags(run.tags, registered_epochs(context.instance, network))
        if len(epochs) < 2:
            return dg.SkipReason("the run has no other epochs")
        blamed = epochs_blamed(context.get_step_failure_events())
        if not blamed:
            return dg.SkipReason("the run blames no epoch: what is missing is caught up with")
        tags = {name: value for name, value in run.tags.items() if name in KEPT_TAGS}
        registered = registered_epochs(context.instance, network)
        return [
            dg.RunRequest(
                run_key=f"{run.run_id}:{chunk[0]}..{chunk[-1]}",
                job_name=run.job_name if run.job_name in names else names[0],
                asset_selection=None if run.asset_selection is None else [*run.asset_selection],
                tags={**tags, **range_tags(chunk), SPLIT_TAG: run.run_id},
            )
            for stretch in stretches_around(epochs, blamed)
            for chunk in contiguous_chunks(registered, stretch, len(stretch))
        ]

    return sensor
