"""A registry of the functions that make frames; lineage is read off their parameters.

A maker takes what is known of the epoch, and as keyword-only parameters, named like their tables,
the frames that it is made from. So the graph that Dagster draws cannot differ from what is
computed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Generic, TypeVar

import pandas as pd

About = TypeVar("About")


class FrameRegistry(Generic[About]):
    """Makers by table, each after those whose frames it takes.

    Frames of tables that have no maker here are given from outside.
    """

    def __init__(self, makers: Mapping[str, Callable[..., pd.DataFrame]]) -> None:
        self._makers = dict(makers)
        self._inputs = {table: _frames_taken(maker) for table, maker in makers.items()}
        made: set[str] = set()
        for table, inputs in self._inputs.items():
            if late := [name for name in inputs if name in makers and name not in made]:
                raise ValueError(f"{table} is made before {late}, which it is made from")
            made.add(table)

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    @property
    def given(self) -> tuple[str, ...]:
        """The tables whose frames come from outside, sorted."""
        taken = {name for inputs in self._inputs.values() for name in inputs}
        return tuple(sorted(taken - self._makers.keys()))

    def inputs(self, table: str) -> tuple[str, ...]:
        """The tables that ``table`` is made from."""
        return self._inputs[table]

    def frames(
        self,
        about: About,
        given: Mapping[str, pd.DataFrame],
        wanted: Collection[str] | None = None,
    ) -> dict[str, pd.DataFrame]:
        """Make the frames of the ``wanted`` tables (all by default), and of those they need.

        ``given`` has the frames that come from outside.
        """
        needed = set(self._makers if wanted is None else wanted)
        for table in reversed(self._makers):
            if table in needed:
                needed.update(self._inputs[table])
        made: dict[str, pd.DataFrame] = {}
        for table, maker in self._makers.items():
            if table in needed:
                taken = {name: made.get(name, given.get(name)) for name in self._inputs[table]}
                made[table] = maker(about, **taken)
        return made


def _frames_taken(maker: Callable[..., pd.DataFrame]) -> tuple[str, ...]:
    parameters = inspect.signature(maker).parameters.values()
    return tuple(one.name for one in parameters if one.kind is one.KEYWORD_ONLY)
