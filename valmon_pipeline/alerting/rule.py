"""Alert rules as objects: whom they judge, by which facts and settings, and in which words.

The rules themselves are in ``rules``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from valmon_pipeline.alerting.kinds import Severity

Int64Array = npt.NDArray[np.int64]
Int8Array = npt.NDArray[np.int8]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
ObjectArray = npt.NDArray[Any]

BAD: Final = np.int8(1)
GOOD: Final = np.int8(0)
UNKNOWN: Final = np.int8(-1)


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """Thresholds of a rule, and how long something must last to count.

    ``threshold`` is in the rule's own unit; ``clear`` is where good begins: between the two an
    epoch is neither, so that a value that wavers around the threshold opens one alert, not many.
    An alert opens after ``open_after`` bad epochs in a row and resolves after ``resolve_after``
    good ones; ``resolve_after`` 0: it ends only by hand. Unknown epochs neither count nor
    interrupt.
    """

    threshold: float
    clear: float
    open_after: int
    resolve_after: int
    severity: Severity
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class EpochFacts:
    """Rows of one stored epoch, by table.

    Columns as in the contracts of the tables, those of ``rules.COLUMNS_READ``. ``leak``: it fell
    into an inactivity leak, or it is not known that it did not. ``missing`` are the facts of the
    epoch that are not known, under their stored names.
    """

    epoch: int
    slots_per_epoch: int
    tables: Mapping[str, pd.DataFrame]
    leak: bool
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Judgement:
    """A rule's verdict on each subject (n) of an epoch.

    ``subjects`` are validator indices, or labels ``category:value``; unique, ascending. ``value``
    is what was compared with the threshold (NaN where unknown), ``cost`` gwei (0 where unknown),
    ``slot`` where it happened (−1: it has none).
    """

    subjects: Int64Array | ObjectArray
    verdict: Int8Array
    value: Float64Array
    cost: Int64Array
    slot: Int64Array


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """Positions of node, data and pipeline by the clock. None: not known, because the chain was
    never followed, or the node was not asked. ``epochs_late`` counts from the first look at the
    chain where no epoch was ever stored.

    ``node_problem`` is a sentence that says why no node could be read from, "" if one could be;
    ``disagreement`` names the nodes that follow different chains, "" if none do. ``is_empty``: no
    epoch was ever stored.
    """

    epoch: int
    slots_behind: int | None
    seconds_since_seen: float | None
    is_optimistic: bool
    epochs_late: int | None
    node_problem: str | None
    disagreement: str = ""
    is_empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule under its stored ``name``. ``bounds`` are those of its threshold, which is
    ``threshold_is``; ``higher_is_worse`` says on which side of it the bad values are."""

    name: str
    title: str
    threshold_is: str
    bounds: tuple[float, float]
    defaults: RuleSettings
    higher_is_worse: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRule(Rule):
    """A rule about stored epochs.

    ``judge`` gives the verdict on each validator, or on each label with ``about_labels``; it
    ``reads`` these columns, by table. ``needs`` are the facts, under their stored names, without
    which the rule has nothing to judge: in an epoch that lacks one of them it may still find
    something bad in what is known, but silence is no sign that all is well. ``happened`` is what
    went wrong, with the fields ``epochs``, ``slot``, ``value`` and ``shortfall`` (minus the value).
    ``live_event`` is the ``live_events.event_type`` that shows it at the head already: such a rule
    is about something that happened, the others are about how a validator does.
    """

    judge: Callable[[EpochFacts, RuleSettings], Judgement]
    reads: Mapping[str, tuple[str, ...]]
    needs: frozenset[str]
    happened: str
    about_labels: bool = False
    live_event: str = ""

    @property
    def is_event(self) -> bool:
        """True for a rule about something that happened."""
        return bool(self.live_event)

    def is_blind(self, facts: EpochFacts) -> bool:
        """True if the epoch lacks a fact that the rule judges by."""
        return not self.needs.isdisjoint(facts.missing)

    def sentence(self, epochs: int, value: float, slot: int | None = None) -> str:
        """``happened`` after so many ``epochs`` in a row."""
        return self.happened.format(epochs=epochs, value=value, shortfall=-value, slot=slot)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRule(Rule):
    """A rule about the node, the data or valmon itself, by the clock instead of by epochs.

    ``look`` takes the facts, the settings and ``is_fresh`` (the head was looked at lately) and
    gives the problem, None without one, and whether all is surely well.
    """

    subject: str
    look: Callable[[SystemFacts, RuleSettings, bool], tuple[str | None, bool]]
