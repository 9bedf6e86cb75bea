"""The one node a run reads from at a time, and the next one when it fails."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from valmon_pipeline.beacon.captured_answers import AnswerStore
from valmon_pipeline.beacon.open_client import OpenClient
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.errors import (
    BeaconApiError,
    ChainRuleViolationError,
    EpochNotFinalError,
)
from valmon_pipeline.reading.epoch_reader import EpochReader

logger = logging.getLogger(__name__)

_FAULTS_OF_A_NODE: Final = (BeaconApiError, ChainRuleViolationError, RecursionError, MemoryError)


def is_fault_of_node(error: object) -> bool:
    """Whether another node may do better: no answer, a bad one, or ones that contradict.

    An answer that is too deep or too large to be taken in is a bad one.
    """
    return isinstance(error, _FAULTS_OF_A_NODE) and not isinstance(error, EpochNotFinalError)


class NodeSession:
    """Use it with ``async with``. ``on_reader`` sees the reader of every node before it is read.

    Every node is read with a reader of its own, so what one node said never ends up among the
    answers of another.
    """

    reader: EpochReader

    def __init__(
        self,
        open_client: OpenClient,
        watch: Watch,
        on_reader: Callable[[EpochReader], None],
        captured: AnswerStore | None = None,
    ) -> None:
        self._open_client = open_client
        self._watch = watch
        self._on_reader = on_reader
        self._captured = captured
        self._node = AsyncExitStack()
        self._failed: dict[str, None] = {}

    async def __aenter__(self) -> Self:
        """Open the first node that is ready; the errors are those of ``OpenClient``."""
        self._node, self.reader = await self._open(self._failed)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._node.__aexit__(kind, error, trace)

    @property
    def name(self) -> str:
        """The node that is being read from."""
        return self.reader.client.name

    async def replace(self, error: Exception) -> bool:
        """Go on with the next node, if there is one that did not fail at this epoch yet.

        The node so far is left with ``error``, so that whoever opened it learns of it.
        """
        self._failed[self.name] = None
        try:
            node, reader = await self._open(self._failed)
        except BeaconApiError as none:
            logger.debug("no node in place of %s: %s", self.name, none)
            return False
        logger.warning("%s is given up for %s: %s", self.name, reader.client.name, error)
        left, self._node, self.reader = self._node, node, reader
        await left.__aexit__(type(error), error, error.__traceback__)
        return True

    async def prefer(self, knows_more: Callable[[EpochReader], Awaitable[bool]]) -> None:
        """Go on with the first other node that ``knows_more``, if there is one.

        No node is to blame: one may merely keep what another has dropped.
        """
        asked = {self.name: None, **self._failed}
        while True:
            try:
                node, reader = await self._open(asked)
            except BeaconApiError as none:
                logger.debug("no other node to ask: %s", none)
                return
            asked[reader.client.name] = None
            if await knows_more(reader):
                logger.info("%s knows more than %s", reader.client.name, self.name)
                left, self._node, self.reader = self._node, node, reader
                await left.__aexit__(None, None, None)
                return
            await node.__aexit__(None, None, None)

    def epoch_is_over(self) -> None:
        """The next epoch may be asked of every node again."""
        self._failed.clear()

    async def _open(self, avoid: dict[str, None]) -> tuple[AsyncExitStack, EpochReader]:
        """A node that is not to be avoided; those that cannot be opened are added to ``avoid``."""
        refusal: BeaconApiError | None = None
        while True:
            async with AsyncExitStack() as node:
                try:
                    opened = self._open_client(tuple(avoid))
                    client = await node.enter_async_context(opened)
                except BeaconApiError as none:
                    raise refusal or none from None
                try:
                    reader = await EpochReader.open(client, self._watch, self._captured)
                except BeaconApiError as error:
                    if client.name in avoid:
                        raise  # whoever opens clients knows of no other node
                    avoid[client.name] = None
                    refusal = refusal or error
                    continue
                self._on_reader(reader)
                return node.pop_all(), reader
