"""``valmon nodes``: which beacon nodes can be read from, and why not the others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from valmon_pipeline.beacon.circuit_breaker import BreakerState
from valmon_pipeline.beacon.client import NodeOptions
from valmon_pipeline.beacon.node_pool import NodePool, NodeReport
from valmon_pipeline.cli.application import (
    ConfigOption,
    JsonOption,
    app,
    load,
    output,
    print_json,
    say,
)
from valmon_pipeline.cli.source_table import source_tables, survey_as_json, surveys_of
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.deployment.demo_node import node_to_ask
from valmon_pipeline.doctor.deviations import deviation_sentence, stored_deviations
from valmon_pipeline.errors import BeaconApiError, ConfigurationError
from valmon_pipeline.pipeline import configured_watch, opened_node_pool
from valmon_pipeline.reading.source_survey import Survey


@app.command()
def nodes(
    config: ConfigOption = None,
    as_json: JsonOption = False,
    history: Annotated[
        bool,
        typer.Option(
            "--history",
            help="Ask about a day and a month ago, too. Some nodes replay blocks for minutes then.",
        ),
    ] = False,
) -> None:
    """Ask every configured beacon node how it is, and which facts it gives from which source.

    The first ready node is read from.
    Ends with exit code 1 if none is ready.
    """
    with node_to_ask(load(config)) as installation:
        if not installation.settings.nodes:
            raise ConfigurationError("no beacon node is configured: set beacon_node_url")
        with opened_node_pool(installation.settings) as pool:
            watch = configured_watch(installation.settings)
            reports, surveys = asyncio.run(_examined(pool, watch, history=history))
            options = {one.name: one for one in pool.options}
        deviations = stored_deviations(installation.settings)
    used = next((report.health.name for report in reports if _is_rested(report)), None)
    used = used or next((one.health.name for one in reports if one.health.is_ready), None)
    if as_json:
        print_json(
            {
                "used": used,
                "nodes": [
                    {
                        **_as_json(one, options[one.health.name]),
                        "sources": survey_as_json(surveys.get(one.health.name)),
                    }
                    for one in reports
                ],
                "deviations": deviations,
            }
        )
    else:
        output.print(_table(reports, options, used))
        for report in reports:
            if not report.health.is_ready:
                say(f"{report.health.name}: {report.health.reason}")
            elif report.breaker.failures:
                say(f"{report.health.name}: {_last_failure(report)}")
            if report.health.disagreement:
                say(f"{report.health.name} disagrees: {report.health.disagreement}")
        for deviation in deviations:
            say(f"{deviation.node}: {deviation_sentence(deviation)}; the right values are stored")
        for name, survey in surveys.items():
            if isinstance(survey, BeaconApiError):
                say(f"{name}: which facts it gives was not found out: {survey}")
            else:
                output.print(source_tables(survey))
    if used is None:
        raise typer.Exit(1)


async def _examined(
    pool: NodePool, watch: Watch, *, history: bool
) -> tuple[list[NodeReport], dict[str, Survey | BeaconApiError]]:
    """How every node is, and which facts those that are ready give."""
    reports = await pool.reports()
    ready = {report.health.name for report in reports if report.health.is_ready}
    nodes_to_ask = [one for one in pool.options if one.name in ready]
    return reports, await surveys_of(nodes_to_ask, watch, history=history)


def _is_rested(report: NodeReport) -> bool:
    return report.health.is_ready and report.breaker_state is not BreakerState.OPEN


def _table(
    reports: Sequence[NodeReport], options: Mapping[str, NodeOptions], used: str | None
) -> Table:
    table = Table(
        "",
        Column("node", overflow="fold"),
        "state",
        Column("head", justify="right"),
        Column("behind", justify="right"),
        Column("ms", justify="right"),
        Column("limit", justify="right"),
        "archive",
        "breaker",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption="→ is read from; limit: requests a second by all processes together;\n"
        "breaker (failures in a row): an open one is left alone",
        caption_justify="left",
    )
    for report in reports:
        health = report.health
        style = "green" if health.is_ready else "red"
        table.add_row(
            "→" if health.name == used else "",
            health.name,
            f"[{style}]{health.state}[/]",
            "–" if health.head_slot is None else str(health.head_slot),
            "–" if health.slots_behind is None else str(health.slots_behind),
            f"{health.seconds * 1000:.0f}",
            f"{options[health.name].requests_per_second:g}/s",
            "yes" if options[health.name].archive else "no",
            f"{report.breaker_state} ({report.breaker.failures})",
        )
    return table


def _as_json(report: NodeReport, options: NodeOptions) -> dict[str, Any]:
    breaker = report.breaker
    return {
        **asdict(report.health),
        "requests_per_second": options.requests_per_second,
        "burst": options.burst,
        "max_in_flight": options.max_in_flight,
        "timeout_seconds": options.timeout_seconds,
        "archive": options.archive,
        "breaker": report.breaker_state,
        "failures": breaker.failures,
        "last_error": breaker.last_error,
        "last_error_at": _moment(breaker.last_error_at),
    }


def _last_failure(report: NodeReport) -> str:
    moment = _moment(report.breaker.last_error_at)
    return f"failed {report.breaker.failures} times, last at {moment}: {report.breaker.last_error}"


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
