"""What runs: whether a ``valmon up`` of this home does its work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from valmon_pipeline.deployment.code_location import CodeLocation
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.up_state import running_up
from valmon_pipeline.doctor.finding import Finding, good, problem
from valmon_pipeline.errors import StorageError
from valmon_pipeline.observability.readiness import (
    OF_A_RUNNING_CHAIN,
    ReadinessLimits,
    stored_conditions,
)
from valmon_pipeline.pipeline import configured_database_url, open_database
from valmon_pipeline.storage.queries.figures import FiguresReader
from valmon_pipeline.storage.warehouse import Warehouse

SUBJECT: Final = "valmon up"


def running_findings(installation: Installation) -> Iterator[Finding]:
    """The conditions of readiness; nothing unless it runs. Where the environment names a code
    server, as in a container, only whether that has valmon's code loaded."""
    up = running_up(installation)
    if up is None:
        yield from code_findings("code server", CodeLocation.configured(os.environ))
        return
    yield good(SUBJECT, "process", f"process {up.pid} runs, {up.ui_url or 'starting'}")
    yield from code_findings(SUBJECT, up.code_location)
    settings = installation.settings
    limits = ReadinessLimits(
        settings.metrics.max_head_lag_slots, settings.metrics.max_stored_lag_epochs
    )
    try:
        database = open_database(settings, configured_database_url(settings))
        try:
            figures = FiguresReader(Warehouse(database)).read(datetime.now(UTC))
        finally:
            database.close()
    except StorageError as error:
        yield problem(SUBJECT, "database", str(error), "see the findings about the database")
        return
    for condition in stored_conditions(figures, limits):
        if condition.ok:
            yield good(SUBJECT, condition.name, "as it should be")
        elif installation.demo and condition.name in OF_A_RUNNING_CHAIN:
            yield good(SUBJECT, condition.name, "the recorded chain ended long ago")
        else:
            what, _, advice = condition.reason.partition(": ")
            yield problem(SUBJECT, condition.name, what, advice)


def code_findings(subject: str, location: CodeLocation | None) -> Iterator[Finding]:
    """The code server has valmon's code loaded; nothing where none is known."""
    if location is None:
        return
    found = location.problem()
    if found:
        advice = "it is loaded again by itself; if it stays so, see the log of the code server"
        yield problem(subject, "code", found, advice)
    else:
        yield good(
            subject, "code", f"the code server at {location.address} has valmon's code loaded"
        )
