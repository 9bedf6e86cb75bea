"""Plots of a report as SVG: bars that may go below zero, and a distribution over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

import numpy as np
import pandas as pd

COLOURS: Final = (
    *("#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#dfab01", "#64473a", "#888"),
    *("#b35c44", "#4d7c8a"),
)
_WIDTH: Final = 900
_LABELS: Final = 150
_BAR: Final = 22
_LEGEND_WIDTH: Final = 150
_MOST_EPOCHS: Final = 400
"""Epochs that a distribution is drawn at: every second, third … one of a longer range."""


def stacked_bars(title: str, bars: Mapping[str, Mapping[str, int]]) -> str:
    """A bar per label, made of its named parts: positive ones to the right of zero, negative ones
    to the left. Empty text if nothing is more than zero long."""
    names = list(dict.fromkeys(name for parts in bars.values() for name in parts))
    right = max((sum(v for v in parts.values() if v > 0) for parts in bars.values()), default=0)
    left = min((sum(v for v in parts.values() if v < 0) for parts in bars.values()), default=0)
    if right == left:
        return ""
    per_row = (_WIDTH - 20) // _LEGEND_WIDTH
    top = 14 + 18 * -(-len(names) // per_row)
    scale = (_WIDTH - _LABELS - 20) / (right - left)
    zero = _LABELS - left * scale
    shapes = [
        f'<text x="{10 + number % per_row * _LEGEND_WIDTH}" y="{14 + number // per_row * 18}" '
        f'fill="{COLOURS[number % len(COLOURS)]}">■ {escape(name)}</text>'
        for number, name in enumerate(names)
    ]
    for row, (label, parts) in enumerate(bars.items()):
        y = top + row * (_BAR + 6)
        shapes.append(
            f'<text x="{_LABELS - 8}" y="{y + 15}" text-anchor="end">{escape(label[:20])}</text>'
        )
        ends = {True: zero, False: zero}
        for name, value in parts.items():
            width = abs(value) * scale
            x = ends[True] if value > 0 else ends[False] - width
            ends[value > 0] += width if value > 0 else -width
            shapes.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" '
                f'fill="{COLOURS[names.index(name) % len(COLOURS)]}">'
                f"<title>{escape(name)}: {value:,} gwei</title></rect>"
            )
    bottom = top + len(bars) * (_BAR + 6)
    shapes.append(f'<path d="M{zero:.1f} {top - 4}V{bottom}" stroke="#999"/>')
    return _svg(title, bottom + 6, shapes)


def distribution(title: str, quantiles: pd.DataFrame, lines: Mapping[str, pd.Series[float]]) -> str:
    """Quantiles over time as bands, the outer and the inner pair, with the middle one as a line,
    and other lines on top.

    ``quantiles``: by epoch (index), five columns from the lowest to the highest; ``lines``: values
    by epoch. Empty text if nothing is known.
    """
    known = quantiles.dropna()
    known = known.iloc[:: max(1, -(-len(known) // _MOST_EPOCHS))]
    if len(known) == 0:
        return ""
    height = 260
    drawn = [known.to_numpy(np.float64).ravel()]
    drawn += [line.dropna().to_numpy(np.float64) for line in lines.values()]
    values = np.concatenate(drawn)
    low, high = min(float(values.min()), 0.9), max(float(values.max()), 1.0)
    first, last = int(known.index[0]), max(int(known.index[-1]), int(known.index[0]) + 1)

    def points(line: pd.Series[float]) -> list[str]:
        return [
            f"{60 + (epoch - first) / (last - first) * (_WIDTH - 80):.1f},"
            f"{height - 30 - (value - low) / (high - low) * (height - 70):.1f}"
            for epoch, value in zip(line.index.tolist(), line.tolist(), strict=True)
            if first <= epoch <= last
        ]

    columns = [known.iloc[:, place] for place in range(5)]
    shapes = [
        f'<polygon points="{" ".join([*points(lower), *reversed(points(upper))])}" '
        f'fill="#555" fill-opacity="{opacity}"/>'
        for lower, upper, opacity in ((columns[0], columns[4], 0.15), (columns[1], columns[3], 0.3))
    ]
    shapes.append(_line(points(columns[2]), "#555", ' stroke-dasharray="5 4"'))
    shapes.append('<text x="60" y="18" fill="#555">■ network: median, halves, nine tenths</text>')
    for number, (name, line) in enumerate(list(lines.items())[: len(COLOURS)]):
        shapes.append(_line(points(line.dropna()), COLOURS[number]))
        x = 340 + number * 110
        shapes.append(f'<text x="{x}" y="18" fill="{COLOURS[number]}">■ {escape(name[:13])}</text>')
    shapes += [
        f'<text x="52" y="{height - 26}" text-anchor="end">{low:.0%}</text>',
        f'<text x="52" y="44" text-anchor="end">{high:.0%}</text>',
        f'<text x="60" y="{height - 8}">epoch {first}</text>',
        f'<text x="{_WIDTH - 20}" y="{height - 8}" text-anchor="end">{last}</text>',
        f'<path d="M60 40V{height - 30}H{_WIDTH - 20}" fill="none" stroke="#999"/>',
    ]
    return _svg(title, height, shapes)


def _line(points: Sequence[str], colour: str, dashes: str = "") -> str:
    return (
        f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"'
        f"{dashes}/>"
    )


def _svg(title: str, height: int, shapes: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12" '
        f'role="img" aria-label="{escape(title)}">{"".join(shapes)}</svg>'
    )
