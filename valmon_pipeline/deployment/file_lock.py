"""Locks on files that end with the process that holds them, however it ends.

A file with a process id says who *was* there; a lock says who is. Locks are advisory (flock) and go
with the open file: a child that inherits the file holds the lock as long as it lives.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

File: TypeAlias = IO[Any]


def hold(handle: File, *, shared: bool = False) -> None:
    """Lock an open file; wait for who holds it. It lasts until every copy of it is closed."""
    fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def try_hold(handle: File, *, shared: bool = False) -> bool:
    """Lock an open file unless somebody else holds it; whether it is locked now."""
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def release(handle: File) -> None:
    """Give the lock of an open file back."""
    fcntl.flock(handle, fcntl.LOCK_UN)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock of a file for itself alone."""
    try:
        with path.open("rb") as handle:
            return not try_hold(handle, shared=True)  # two that look do not see each other
    except FileNotFoundError:
        return False


@contextmanager
def opened(path: Path) -> Iterator[File]:
    """A lock file, made if need be; closing it gives the lock back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as handle:
        yield handle
