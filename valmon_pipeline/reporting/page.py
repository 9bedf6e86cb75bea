"""A report as one HTML file that needs nothing else: tables, and plots as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

import numpy as np
import pandas as pd

from valmon_pipeline.reporting.plots import distribution, stacked_bars
from valmon_pipeline.reporting.report import Report
from valmon_pipeline.scoring.facts import LEDGER_SUMS, PENALTY_TYPES
from valmon_pipeline.scoring.miss_causes import MissCause

_COLOURS: Final = ("#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#dfab01", "#64473a")
_WIDTH: Final = 900
_HEIGHT: Final = 260
_STYLE: Final = (
    "body{font:14px/1.5 sans-serif;color:#222;max-width:960px;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;width:100%;margin:1em 0;font-size:12px}"
    "th,td{padding:.3em .5em;border-bottom:1px solid #ddd;text-align:right}"
    "th:first-child,td:first-child{text-align:left}tr:last-child{font-weight:bold}"
    "svg{width:100%;height:auto}section{break-inside:avoid}"
    "@media print{body{margin:0;max-width:none}}"
)


def page(report: Report) -> str:
    """The whole file."""
    title = f"{report.network_name}: epochs {report.span.first} to {report.span.last}"
    groups = report.groups
    parts = [
        ("Performance", _table(groups, _PERFORMANCE)),
        ("Reward effectiveness over time", _lines(report)),
        ("Reward effectiveness against the network", _distribution(report)),
        ("Missed by cause, gwei", _causes_plot(groups) + _causes(groups)),
        ("Penalties, gwei", _table(groups, {k: f"penalty_{k}" for k in PENALTY_TYPES})),
        ("Ledger, gwei", _ledger_plot(groups) + _ledger(groups)),
    ]
    body = "".join(f"<section><h2>{escape(name)}</h2>{part}</section>" for name, part in parts)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"<p>By {escape(report.category)}. Amounts are gwei; a dash means that nothing was due, or "
        f"that it is not known.</p>{_incomplete(report)}{body}</body></html>\n"
    )


def _incomplete(report: Report) -> str:
    """The sentence about epochs that lack facts; empty without any."""
    if not report.incomplete:
        return ""
    first, last = report.incomplete[0], report.incomplete[-1]
    return (
        f"<p>{len(report.incomplete)} of these epochs lack facts ({first} to {last}): sums are "
        "over what is known of them, and what moved balances there without a known reason is "
        "<i>unknown</i> in the ledger.</p>"
    )


_PERFORMANCE: Final = {
    "validators": "validators",
    "duties": "duties",
    "missed": "missed",
    "attestation effectiveness": "attestation_effectiveness",
    "reward effectiveness": "reward_effectiveness",
    "unweighted": "reward_effectiveness_unweighted",
    "earned": "earned",
    "blocks": "proposals_proposed",
    "of": "proposals_due",
    "missed blocks, about": "proposal_missed_estimate",
    "sync": "sync_rate",
}


def _table(groups: pd.DataFrame, columns: dict[str, str]) -> str:
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in columns)
    rows = "".join(
        f"<tr><td>{escape(_name(row['group']))}</td>"
        + "".join(f"<td>{_shown(row[column])}</td>" for column in columns.values())
        + "</tr>"
        for row in groups.to_dict("records")
    )
    return f"<table><tr><th>group</th>{head}</tr>{rows}</table>"


def _ledger(groups: pd.DataFrame) -> str:
    """One column per group, so that any number of components fits a page."""
    names = ["opening_balance", *(f"ledger_{name}" for name in LEDGER_SUMS)]
    names += ["unknown", "moved", "gaps"]
    head = "".join(f"<th>{escape(_name(group))}</th>" for group in groups["group"])
    rows = "".join(
        f"<tr><td>{label}</td>"
        + "".join(f"<td>{_shown(value)}</td>" for value in groups[name])
        + "</tr>"
        for name in [*names, "closing_balance"]
        for label in [name.removeprefix("ledger_").replace("_", " ")]
    )
    return f"<table><tr><th></th>{head}</tr>{rows}</table>"


def _distribution(report: Report) -> str:
    by_group = {
        _name(name): part.set_index("first_epoch")["reward_effectiveness"]
        for name, part in report.series.groupby("value", sort=True)
    }
    drawn = distribution("Reward effectiveness against the network", report.distribution, by_group)
    return drawn or "<p>The network's distribution is not known for these epochs.</p>"


def _causes_plot(groups: pd.DataFrame) -> str:
    """What each group missed, by cause; everybody together is the sum and not drawn."""
    bars = {
        _name(row["group"]): {
            cause.value.replace("_", " "): int(row[f"cost_{cause.value}"])
            for cause in MissCause
            if not pd.isna(row[f"cost_{cause.value}"]) and int(row[f"cost_{cause.value}"]) > 0
        }
        for row in groups.iloc[:-1].to_dict("records")
    }
    return stacked_bars("Missed by cause", bars)


def _ledger_plot(groups: pd.DataFrame) -> str:
    """What moved the balances of each group; full withdrawals are part of the withdrawals."""
    names = [name for name in LEDGER_SUMS if name != "full_withdrawals"]
    bars = {
        _name(row["group"]): {
            name.replace("_", " "): int(row[f"ledger_{name}"])
            for name in names
            if int(row[f"ledger_{name}"])
        }
        for row in groups.iloc[:-1].to_dict("records")
    }
    return stacked_bars("What moved the balances", bars)


def _causes(groups: pd.DataFrame) -> str:
    causes = [cause.value for cause in MissCause if groups[f"misses_{cause.value}"].sum() > 0]
    cells = "".join(
        f"<tr><td>{escape(_name(row['group']))}</td>"
        + "".join(
            f"<td>{_shown(row[f'misses_{cause}'])} / {_shown(row[f'cost_{cause}'])}</td>"
            for cause in causes
        )
        + "</tr>"
        for row in groups.to_dict("records")
    )
    head = "".join(f"<th>{cause.replace('_', ' ')}</th>" for cause in causes)
    return f"<table><tr><th>misses / cost</th>{head}</tr>{cells}</table>"


def _lines(report: Report) -> str:
    lines = [
        (_name(name), part["first_epoch"].tolist(), part["reward_effectiveness"].tolist())
        for name, part in report.series.groupby("value", sort=True)
    ][: len(_COLOURS) - 1]
    known = report.network[report.network["reward_effectiveness"].notna()]
    epochs, shares = known["first_epoch"].tolist(), known["reward_effectiveness"].tolist()
    if epochs:
        lines.append(("network", epochs, shares))
    values = np.array([value for _, _, line in lines for value in line], dtype=np.float64)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return "<p>Nothing was due.</p>"
    low, high = min(float(values.min()), 0.9), max(float(values.max()), 1.0)
    first = min(min(line[1]) for line in lines)
    last = max(max(max(line[1]) for line in lines), first + 1)

    def point(epoch: int, value: float) -> str:
        x = 60 + (epoch - first) / (last - first) * (_WIDTH - 80)
        return f"{x:.1f},{_HEIGHT - 30 - (value - low) / (high - low) * (_HEIGHT - 70):.1f}"

    shapes = [
        f'<text x="52" y="{_HEIGHT - 26}" text-anchor="end">{low:.0%}</text>',
        f'<text x="52" y="44" text-anchor="end">{high:.0%}</text>',
        f'<text x="60" y="{_HEIGHT - 8}">epoch {first}</text>',
        f'<text x="{_WIDTH - 20}" y="{_HEIGHT - 8}" text-anchor="end">{last}</text>',
        f'<path d="M60 40V{_HEIGHT - 30}H{_WIDTH - 20}" fill="none" stroke="#999"/>',
    ]
    for number, (name, xs, ys) in enumerate(lines):
        colour = "#555" if name == "network" else _COLOURS[number]
        dashes = ' stroke-dasharray="5 4"' if name == "network" else ""
        for run in _runs(xs, ys):
            points = " ".join(point(x, y) for x, y in run)
            shapes.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"'
                f' stroke-linecap="round"{dashes}/>'
            )
        x = 60 + number * 120
        shapes.append(f'<text x="{x}" y="18" fill="{colour}">■ {escape(name[:14])}</text>')
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12" '
        f'role="img" aria-label="Reward effectiveness over time">{"".join(shapes)}</svg>'
    )


def _runs(xs: Sequence[int], ys: Sequence[float]) -> list[list[tuple[int, float]]]:
    """The parts of a line between its unknown values."""
    runs: list[list[tuple[int, float]]] = [[]]
    for x, y in zip(xs, ys, strict=True):
        if np.isnan(y):
            runs.append([])
        else:
            runs[-1].append((x, y))
    return [run for run in runs if run]


def _name(group: Any) -> str:
    return str(group) or "(no label)"


def _shown(value: Any) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:.2%}" if isinstance(value, float) else f"{int(value):,}"
