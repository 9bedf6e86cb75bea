"""Small bar plots for the Dagster UI: SVG inside Markdown, a kilobyte each."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH: Final = 480
_HEIGHT: Final = 150
_LEFT: Final = 44
_BOTTOM: Final = 26
_TOP: Final = 22


@dataclass(frozen=True, slots=True)
class Series:
    """One stacked part of the bars: a name for the legend, a colour, a count per bar."""

    name: str
    colour: str
    counts: Sequence[int]


def stacked_bars(title: str, labels: Sequence[str], series: Sequence[Series]) -> str:
    """Markdown with one image: a bar per label, the series stacked in the order given."""
    totals = [sum(part.counts[bar] for part in series) for bar in range(len(labels))]
    highest = max([1, *totals])
    area_width, area_height = _WIDTH - _LEFT - 8, _HEIGHT - _TOP - _BOTTOM
    step = area_width / max(1, len(labels))
    shapes: list[str] = []
    for bar in range(len(labels)):
        top = float(_HEIGHT - _BOTTOM)
        for part in series:
            height = area_height * part.counts[bar] / highest
            top -= height
            shapes.append(
                f'<rect x="{_LEFT + bar * step + step * 0.1:.1f}" y="{top:.1f}" '
                f'width="{step * 0.8:.1f}" height="{height:.1f}" fill="{part.colour}"/>'
            )
    shown = range(0, len(labels), -(-len(labels) // 8) or 1)
    texts = [_text(_LEFT + bar * step + step / 2, _HEIGHT - 10, labels[bar]) for bar in shown]
    texts += [
        _text(_LEFT - 6, _TOP + 8, f"{highest:,}", anchor="end"),
        _text(_LEFT - 6, _HEIGHT - _BOTTOM, "0", anchor="end"),
        _text(_LEFT, 13, title, anchor="start", weight="bold"),
    ]
    legend_right = float(_WIDTH - 8)
    for part in reversed(series):
        texts.append(_text(legend_right, 13, f"■ {part.name}", anchor="end", colour=part.colour))
        legend_right -= 7.0 * (len(part.name) + 3)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'font-family="sans-serif" font-size="10"><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(shapes)}{''.join(texts)}</svg>"
    )
    return f"![{title}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})"


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "middle",
    colour: str = "#333",
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )
