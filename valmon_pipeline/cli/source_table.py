"""What a node gives each fact from, as ``valmon nodes`` prints it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Column, Table

from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.facts import Fact
from valmon_pipeline.epoch.source_names import SourceName
from valmon_pipeline.errors import BeaconApiError
from valmon_pipeline.reading.client_options import advice_for
from valmon_pipeline.reading.source_survey import (
    NULL_WITHOUT,
    FactReport,
    Moment,
    Survey,
    survey_node,
)

_FACTS: Final[Mapping[Fact, str]] = MappingProxyType({Fact.REGISTRY_AT_START: "registry"})
_SHORT: Final[Mapping[SourceName, str]] = MappingProxyType(
    {
        SourceName.BLOCKS: "blocks",
        SourceName.REGISTRY: "slot's state",
        SourceName.HEAD_REGISTRY: "head's state",
        SourceName.HEAD_COMMITTEES: "head's state",
        SourceName.COMMITTEES: "slot's state",
        SourceName.SHUFFLING: "whole state",
        SourceName.HEAD_SYNC_COMMITTEE: "head's state",
        SourceName.SYNC_COMMITTEE: "slot's state",
        SourceName.PROPOSERS_IN_BLOCKS: "blocks",
        SourceName.PROPOSER_DUTIES: "duties",
        SourceName.FINALITY: "slot's state",
        SourceName.OUTCOMES: "computed",
        SourceName.ATTESTATION_REWARDS: "rewards",
        SourceName.PARTICIPATION: "whole state",
        SourceName.BLOCK_REWARDS: "rewards",
        SourceName.VOTES: "computed",
        SourceName.SEATS: "computed",
        SourceName.SYNC_REWARDS: "rewards",
        SourceName.QUEUES: "slot's state",
        SourceName.STATE: "whole state",
    }
)
"""Kinds of sources, short enough for a column; ``--json`` has the full names."""
_MOMENTS_BESIDE_LOST: Final = 2
"""With more of them, 80 columns have no room for what is NULL."""


async def surveys_of(
    nodes: Sequence[NodeOptions], watch: Watch, *, history: bool
) -> dict[str, Survey | BeaconApiError]:
    """Survey nodes side by side, by name; an error for those that do not even give their head."""

    async def one(options: NodeOptions) -> tuple[str, Survey | BeaconApiError]:
        async with BeaconClient.open(options) as client:
            try:
                return client.name, await survey_node(client, watch, history=history)
            except BeaconApiError as error:
                return client.name, error

    return dict(await asyncio.gather(*map(one, nodes)))


def source_tables(survey: Survey) -> RenderableType:
    """The sources of one node, a row per fact, and what would give the facts that are NULL."""
    if not survey.reports:
        return f"{survey.node}: the chain is too young to say which facts it gives"
    advice = _advice(survey)
    return Group(_sources(survey), *([advice] if advice.row_count else []))


def _sources(survey: Survey) -> Table:
    moments = survey.moments
    says_what_is_lost = len(moments) <= _MOMENTS_BESIDE_LOST
    table = Table(
        Column("fact", no_wrap=True),
        *(Column(moment.value, no_wrap=True) for moment in moments),
        *([Column("NULL without it", style="dim")] if says_what_is_lost else []),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title=escape(f"{survey.node}: {survey.version or 'unknown client'}"),
        title_justify="left",
        title_style="bold",
        caption="computed: by the specification; whole state: from debug/beacon/states",
        caption_justify="left",
    )
    for fact, lost in NULL_WITHOUT.items():
        cells = [_cell(survey.of(fact, moment)) for moment in moments]
        if any(survey.of(fact, moment) for moment in moments):
            missing = any("NULL" in cell for cell in cells)
            shown = [lost if missing else ""] if says_what_is_lost else []
            table.add_row(_name(fact), *cells, *shown)
    return table


def _cell(report: FactReport | None) -> str:
    if report is None:
        return "–"
    if not report.is_asked:
        return "[yellow]no time[/]"
    if report.source is None:
        return "[red]NULL[/]"
    return _SHORT[report.source]


def _advice(survey: Survey) -> Table:
    """A row per option, with the facts that it gives."""
    gives: dict[str, dict[Fact, list[Moment]]] = {}
    for report in survey.reports:
        if report.is_missing:
            by_fact = gives.setdefault(advice_for(survey, report), {})
            by_fact.setdefault(report.fact, []).append(report.moment)
    table = Table(
        Column("NULL [dim](red: also now)[/]", ratio=2),
        Column("what gives it", ratio=3),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for advice, facts in gives.items():
        names = ", ".join(
            f"[red]{_name(fact)}[/]" if Moment.NOW in moments else _name(fact)
            for fact, moments in facts.items()
        )
        table.add_row(names, escape(advice))
    return table


def _name(fact: Fact) -> str:
    return _FACTS.get(fact, fact.value.replace("_", " "))


def survey_as_json(survey: Survey | BeaconApiError | None) -> dict[str, Any] | None:
    """The survey for ``--json``: full names of sources, refusals, and advice."""
    if survey is None:
        return None
    if isinstance(survey, BeaconApiError):
        return {"error": str(survey)}
    return {
        "version": survey.version,
        "client": survey.client.value,
        "whole_registry": survey.whole_registry,
        "facts": [
            {
                "fact": report.fact.value,
                "moment": report.moment.value,
                "epoch": report.epoch,
                "source": None if report.source is None else report.source.value,
                "reason": report.reason,
                "is_asked": report.is_asked,
                "null_without_it": NULL_WITHOUT[report.fact],
                "advice": advice_for(survey, report) if report.is_missing else None,
            }
            for report in survey.reports
        ],
    }
