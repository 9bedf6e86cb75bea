"""Keeps, at the start of each epoch, what default nodes tell only for a few epochs."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.errors import BeaconUnreachableError
from valmon_pipeline.reading.capture import BoundaryCapture, CaptureReport

logger = logging.getLogger(__name__)

CAPTURE_SECONDS: Final = 30.0
"""For all requests of a boundary: within Dagster's 60 s for a tick, with what else it does."""


class BoundaryWatch:
    """The captures of one sensor's process; it remembers what of an epoch is kept already."""

    def __init__(self) -> None:
        self._capture = BoundaryCapture()
        self._watching: object = None

    def is_due(self, head_epoch: int) -> bool:
        """Return True if anything is still to be captured at the boundary of an epoch."""
        return self._capture.is_due(head_epoch)

    def capture(self, pipeline: Pipeline, head_epoch: int) -> CaptureReport:
        """Capture what is due at the boundary of the head's epoch, and store it.

        Raises:
            BeaconApiError: no node is ready, or it stops answering; the next tick tries again.
            StorageError: the database is away.
        """
        if pipeline.watch != self._watching:
            self._watching = pipeline.watch
            self._capture.begin_again()
        if not self._capture.is_due(head_epoch):
            return CaptureReport()

        async def ask() -> CaptureReport:
            async with asyncio.timeout(CAPTURE_SECONDS), pipeline.open_client() as client:
                with client.deadline(CAPTURE_SECONDS):
                    spec, head = await client.spec(), await client.head()
                    return await self._capture.capture(client, spec, pipeline.watch, head)

        try:
            report = asyncio.run(ask())
        except TimeoutError:
            self._capture.begin_again()
            raise BeaconUnreachableError(
                f"what the node knows of epoch {head_epoch} did not come within "
                f"{CAPTURE_SECONDS:g} s; asked again in the next tick"
            ) from None
        pipeline.warehouse.captured_answers().keep(report.answers)
        return report
