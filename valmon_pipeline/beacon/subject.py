"""What is being asked about: answers are archived, and found in archives, by their subject."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

VALIDATORS_SUBJECT: Final = "validators"
"""The subject of what is asked about the watched validators as such."""
_SUBJECT: ContextVar[str | None] = ContextVar("beacon_subject", default=None)


def epoch_subject(epoch: int) -> str:
    """The subject of everything that is asked to materialize ``epoch``; sorts like the epochs."""
    return f"epoch-{epoch:07d}"


@contextmanager
def asking_about(subject: str) -> Iterator[None]:
    """Everything asked within is about ``subject``. Tasks started within inherit it."""
    token = _SUBJECT.set(subject)
    try:
        yield
    finally:
        _SUBJECT.reset(token)


def current_subject() -> str | None:
    """The subject of what is being asked here, if there is one."""
    return _SUBJECT.get()
