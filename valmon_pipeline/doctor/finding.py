"""What the doctor found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """A problem keeps valmon from working, a warning from working well."""

    GOOD = "good"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tested. ``advice`` says what to do; empty when all is good."""

    subject: str
    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def good(subject: str, name: str, found: str) -> Finding:
    """All is well."""
    return Finding(subject, name, Verdict.GOOD, found)


def warning(subject: str, name: str, found: str, advice: str) -> Finding:
    """It works, but."""
    return Finding(subject, name, Verdict.WARNING, found, advice)


def problem(subject: str, name: str, found: str, advice: str) -> Finding:
    """It cannot work like this."""
    return Finding(subject, name, Verdict.PROBLEM, found, advice)
