"""Everything that is tested, in the order in which it has to be put right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.doctor.channels import channel_findings
from valmon_pipeline.doctor.database import database_findings
from valmon_pipeline.doctor.deviations import deviation_findings
from valmon_pipeline.doctor.finding import Finding, good, problem, warning
from valmon_pipeline.doctor.machine import machine_findings
from valmon_pipeline.doctor.nodes import node_findings
from valmon_pipeline.doctor.running import running_findings
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline.pipeline import opened_node_pool

SUBJECT: Final = "configuration"


def examine(config: Path | None) -> Iterator[Finding]:
    """Test the set-up that a configuration describes; nothing is changed by it.

    Findings come as they are made: nodes may take a while to answer.
    """
    try:
        installation = Installation.load(config)
    except ConfigurationError as error:
        yield problem(SUBJECT, "file", str(error), "correct it; nothing else can be tested before")
        return
    file = installation.config_file or "no file: defaults and environment"
    yield good(SUBJECT, "file", str(file))
    if installation.demo:
        yield warning(
            SUBJECT,
            "what is watched",
            "neither a beacon node nor a validator is configured: the recorded devnet is shown",
            "set beacon_node_url and validators, see docs/configuration.md",
        )
    else:
        try:
            installation.require_node()
        except ConfigurationError as error:
            what, _, advice = str(error).partition(": ")
            yield problem(SUBJECT, "what is watched", what, advice)
    yield from channel_findings(installation.settings)
    yield from machine_findings(installation)
    yield from database_findings(installation)
    if installation.settings.nodes:
        with opened_node_pool(installation.settings) as pool:
            yield from node_findings(installation.settings, pool)
    yield from deviation_findings(installation.settings)
    yield from running_findings(installation)
