"""Requests that run together: the first failure cancels the others and is raised as it is.

An epoch that has failed must not keep asking the node while the next one is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def side_by_side() -> AsyncIterator[asyncio.TaskGroup]:
    """A group of tasks; what is raised is the first failure itself, not a group of them."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def all_of(*requests: Coroutine[Any, Any, T]) -> list[T]:
    """The results of requests that run together, in their order."""
    async with side_by_side() as tasks:
        running = [tasks.create_task(request) for request in requests]
    return [task.result() for task in running]
