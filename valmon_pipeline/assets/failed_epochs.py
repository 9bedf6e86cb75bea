"""The epochs that a failed run blames, read off the failure of its step."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import dagster as dg

_EPOCH: Final = re.compile(r"epoch (\d+)")


def epochs_blamed(events: Iterable[dg.DagsterEvent]) -> dict[int, str]:
    """Epoch to reason, from the metadata of the failure; empty if it names none."""
    blamed: dict[int, str] = {}
    for event in events:
        failure = event.step_failure_data.user_failure_data if event.is_step_failure else None
        for name, value in (failure.metadata if failure is not None else {}).items():
            if match := _EPOCH.fullmatch(name):
                blamed[int(match[1])] = str(value.value)
    return blamed
