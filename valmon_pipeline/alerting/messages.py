"""Sentences about several validators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

NAMED: Final = 10
"""Validators that a sentence names one by one."""


def about_group(label: str, validators: Sequence[int], worst: str) -> str:
    """E.g. ``operator:a: 40 validators (0, 1, 2, … and 37 more), among them validator 0: …``."""
    return (
        f"{label}: {len(validators)} validators ({listed(validators, NAMED)}), among them {worst}"
    )


def listed(validators: Sequence[int], at_most: int) -> str:
    """E.g. ``0, 1, 2, … and 37 more``."""
    named = ", ".join(map(str, validators[:at_most]))
    more = len(validators) - at_most
    return f"{named}, … and {more} more" if more > 0 else named
