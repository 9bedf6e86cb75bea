"""The one node a run reads from at a time, and the next one when it fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
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
        self._node, self.reader = await self._open()
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

    async def replace(self, error: Exception | None) -> bool:
        """Go on with the next node, if there is one that was not asked about this epoch yet.

        The node so far is left with ``error``, so that whoever opened it learns of it; None: it is
        not to blame, another one may merely know more.
        """
        self._failed[self.name] = None
        try:
            node, reader = await self._open()
        except BeaconApiError as none:
            logger.debug("no node in place of %s: %s", self.name, none)
            return False
        left, name, self._node, self.reader = self._node, self.name, node, reader
        if error is None:
            logger.info("%s is asked for what %s does not know", self.name, name)
            await left.__aexit__(None, None, None)
        else:
            logger.warning("%s is given up for %s: %s", name, self.name, error)
            await left.__aexit__(type(error), error, error.__traceback__)
        return True

    def epoch_is_over(self) -> None:
        """The next epoch may be asked of every node again."""
        self._failed.clear()

    async def _open(self) -> tuple[AsyncExitStack, EpochReader]:
        refusal: BeaconApiError | None = None
        while True:
            async with AsyncExitStack() as node:
                try:
                    opened = self._open_client(tuple(self._failed))
                    client = await node.enter_async_context(opened)
                except BeaconApiError as none:
                    raise refusal or none from None
                try:
                    reader = await EpochReader.open(client, self._watch, self._captured)
                except BeaconApiError as error:
                    if client.name in self._failed:
                        raise  # whoever opens clients knows of no other node
                    self._failed[client.name] = None
                    refusal = refusal or error
                    continue
                self._on_reader(reader)
                return node.pop_all(), reader
