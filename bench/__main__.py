"""All benchmarks, one after the other, and one table of their figures: ``python -m bench``.

Each runs in a process of its own, so that none measures the memory of another. A benchmark prints
the figures of the table as ``name value unit (target: at most limit)``, ``(< limit)`` for a limit
that is not reached itself, or ``(no target)``. The exit code is 1 if one of them misses a target.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

BENCHMARKS: Final = (
    *("decode_rewards", "block_formats", "attestation_outcomes", "store_frame"),
    *("accounts", "scores", "backfill", "network_state", "network_epoch"),
    *("network_rows", "shuffling", "request_cost", "epoch_requests"),
    "dagster_storage",
)
_FIGURE: Final = re.compile(
    r"(?P<name>[A-Za-z][A-Za-z ]*?)\s+(?P<value>-?[\d.]+)(?: (?P<unit>\w+))? "
    r"\((?:target:? ?)?(?:(?P<limit>(?:<|at most) [\d.]+)|no target)\)"
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table; ``of`` is the heading it was printed under."""

    benchmark: str
    of: str
    name: str
    value: float
    unit: str
    limit: str

    @property
    def is_met(self) -> bool:
        """Whether the value keeps the limit, if there is one."""
        if not self.limit:
            return True
        relation, _, limit = self.limit.rpartition(" ")
        return self.value < float(limit) or (relation == "at most" and self.value == float(limit))


def figures_of(benchmark: str, output: str) -> Iterator[Figure]:
    """The figures in what a benchmark printed.

    They belong to the first line that is not indented, at the start, after an empty line, or after
    other figures.
    """
    heading, awaited = "", True
    for line in output.splitlines():
        found = list(_FIGURE.finditer(line))
        for match in found:
            yield Figure(
                benchmark,
                heading,
                match["name"],
                float(match["value"]),
                match["unit"] or "",
                match["limit"] or "",
            )
        if found or not line:
            awaited = True
        elif awaited and not line.startswith(" "):
            heading, awaited = line.split(", ")[0].split(":")[0], False


def run(benchmark: str) -> tuple[list[Figure], bool]:
    """Run one benchmark and show what it prints; its figures, and whether it ended well."""
    print(f"\n== {benchmark} ==", flush=True)
    process = subprocess.Popen(
        [sys.executable, "-m", f"bench.{benchmark}"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    well = process.wait() == 0
    figures = list(figures_of(benchmark, "".join(lines)))
    return figures, well and bool(figures)


def main() -> int:
    """Run all; the exit code says whether every benchmark ended well and kept its targets."""
    figures: list[Figure] = []
    failed = []
    for benchmark in BENCHMARKS:
        found, well = run(benchmark)
        figures += found
        if not well:
            failed.append(benchmark)
    table = Table("benchmark", "of", "figure", "value", "target", "", box=None)
    for figure in figures:
        table.add_row(
            figure.benchmark,
            figure.of,
            figure.name,
            f"{figure.value:g} {figure.unit}",
            figure.limit or "–",
            "" if not figure.limit else "met" if figure.is_met else "MISSED",
        )
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print()
    console.print(table)
    if failed:
        console.print(f"failed or beyond a target: {', '.join(failed)}", style="red")
    return int(bool(failed) or not all(figure.is_met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
