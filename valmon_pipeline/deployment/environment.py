"""The environment that Dagster's processes run in, and the home directory they expect."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from valmon_pipeline.config import Settings
from valmon_pipeline.deployment import instance_file
from valmon_pipeline.deployment.databases import DatabaseUrls
from valmon_pipeline.deployment.installation import Installation


def prepare_dagster_home(installation: Installation, tell: Callable[[str], None]) -> Path:
    """Make DAGSTER_HOME with the workspace file of this version, and bring ``dagster.yaml`` up to
    it; the path.

    ``tell`` is told of what the user set in ``dagster.yaml`` and cannot be used.

    Raises:
        ConfigurationError: ``dagster.yaml`` cannot be used at all.
    """
    home = installation.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("workspace.yaml"), home / "workspace.yaml")
    shipped = Path(__file__).with_name(instance_file.NAME).read_text()
    instance_file.bring_up_to_date(home, shipped, tell)
    return home


def dagster_environment(installation: Installation, urls: DatabaseUrls) -> Mapping[str, str]:
    """Variables for this process and its children; values hold passwords and must not be logged."""
    settings = installation.settings
    variables = {
        "DAGSTER_HOME": str(installation.dagster_home),
        "DAGSTER_POSTGRES_URL": urls.dagster,
        # A thousand epochs' materializations are written in seconds instead of half a minute.
        "DAGSTER_EVENT_BATCH_SIZE": "500",
        # One planned event per asset and run, not one per epoch as well: 8 ms each in the daemon.
        # Epochs of a failed run show as missing then, not as failed; the run says why.
        "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS": "true",
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "VALMON_HOME": str(installation.home),
        "VALMON_NETWORK": settings.network,
        "VALMON_DATABASE_URL": urls.tables,
        **_nodes(settings),
    }
    if installation.config_file is not None:
        variables["VALMON_CONFIG"] = str(installation.config_file)
    return variables


def _nodes(settings: Settings) -> Mapping[str, str]:
    """The nodes in the form that the configuration has them in: both would be a mistake."""
    if settings.beacon_nodes:
        nodes = [node.revealed() for node in settings.beacon_nodes]
        return {"VALMON_BEACON_URL": "", "VALMON_BEACON_NODES": json.dumps(nodes)}
    return {"VALMON_BEACON_URL": ",".join(url.reveal() for url in settings.beacon_node_url)}


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Within this context the variables are set for this process, whose Dagster instance reads
    them."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
