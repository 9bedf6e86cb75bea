"""The facts of an epoch: from which source a node gives each, and what will be NULL."""

from __future__ import annotations

from collections.abc import Iterator

from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.doctor.finding import Finding, good, problem, warning
from valmon_pipeline.epoch.facts import Fact
from valmon_pipeline.errors import BeaconApiError
from valmon_pipeline.reading.client_options import advice_for
from valmon_pipeline.reading.source_survey import (
    NULL_WITHOUT,
    FactReport,
    Moment,
    Survey,
    survey_node,
)


async def fact_findings(client: BeaconClient, subject: str, watch: Watch) -> list[Finding]:
    """Ask a node what it gives while the chain is followed, and of an epoch after an outage.

    Without blocks nothing can be stored, which is a problem. Any other fact that is missing while
    the chain is followed is a warning; what is only missing later is told and no more.
    """
    try:
        survey = await survey_node(client, watch)
    except BeaconApiError as error:
        return [problem(subject, "facts", str(error), "see its health")]
    if not survey.reports:
        return [good(subject, "facts", "the chain is too young to say which the node gives")]
    return [
        _finding(survey, subject, now, survey.of(now.fact, Moment.OUTAGE))
        for now in _of_now(survey)
    ]


def _of_now(survey: Survey) -> Iterator[FactReport]:
    return (report for report in survey.reports if report.moment is Moment.NOW)


def _finding(survey: Survey, subject: str, now: FactReport, outage: FactReport | None) -> Finding:
    fact = now.fact
    name = "registry" if fact is Fact.REGISTRY_AT_START else fact.value.replace("_", " ")
    if not now.is_asked:
        return warning(
            subject, name, now.reason or "not asked", "the node is slow: see its load and its log"
        )
    if now.source is None:
        found = f"NULL will be {NULL_WITHOUT[fact]}: {now.reason}"
        if fact is Fact.BLOCKS:
            return problem(
                subject, name, f"not answered: {now.reason}", "without blocks nothing can be stored"
            )
        return warning(subject, name, found, advice_for(survey, now))
    later = ""
    if outage is not None and outage.is_missing:
        later = f"; after an outage NULL, unless it was captured: {advice_for(survey, outage)}"
    elif outage is not None and outage.source not in (None, now.source):
        later = f"; after an outage from {outage.source}"
    return good(subject, name, f"from {now.source}{later}")
