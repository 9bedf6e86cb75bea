"""The run queue of ``dagster.yaml``, with the limits that ``valmon.yaml`` sets.

Dagster's own ``run_queue`` takes numbers only, in a file that a container image brings along: the
limits would be set in another place than all else. Its queue is used unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

import dagster as dg

from valmon_pipeline.assets.run_tags import CATCH_UP, WORK_TAG

CATCH_UP_RUNS: Final = 1
_BACKFILL_TAG: Final = "dagster/backfill"


class RunQueue(dg.QueuedRunCoordinator):
    """Dagster's queue, limited by ``runs`` in ``valmon.yaml``, which is read once.

    ``concurrency.runs`` and the ``config`` of this class in ``dagster.yaml`` come before it: each
    of ``max_concurrent_runs`` and ``tag_concurrency_limits`` that is set there is used instead.
    """

    def __init__(self, **config: Any) -> None:
        self._set_here = {name for name, value in config.items() if value is not None}
        super().__init__(**config)

    def get_run_queue_config(self) -> Any:
        """The limits. Only who launches runs asks for them: others read no configuration.

        Raises:
            ConfigurationError: ``valmon.yaml`` has mistakes.
        """
        limits = {name: value for name, value in self._limits.items() if name not in self._set_here}
        return super().get_run_queue_config()._replace(**limits)

    @cached_property
    def _limits(self) -> Mapping[str, Any]:
        # Imported here: every process that opens an instance imports this module.
        from valmon_pipeline.config import load_settings

        runs = load_settings().runs
        return {
            "max_concurrent_runs": runs.limit,
            "tag_concurrency_limits": [
                {"key": _BACKFILL_TAG, "limit": runs.backfill_limit},
                {"key": WORK_TAG, "value": CATCH_UP, "limit": CATCH_UP_RUNS},
            ],
        }
