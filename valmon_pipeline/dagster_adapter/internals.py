"""Names that Dagster does not export, in one place; what each means to us is tested.

A name that moves fails at the import, one whose meaning changes fails in
``valmon_pipeline_tests/dagster_adapter``.
"""

from __future__ import annotations

from typing import Final

from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.execution.backfill import (
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
)
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.tags import (
    GRPC_INFO_TAG,
    PARTITION_NAME_TAG,
    PRIORITY_TAG,
    RUN_KEY_TAG,
)
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import ListRepositoriesResponse
from dagster_shared.error import SerializableErrorInfo

__all__ = [
    "DAEMON_MODULE",
    "GRPC_INFO_TAG",
    "PARTITION_NAME_TAG",
    "PRIORITY_TAG",
    "RUN_KEY_TAG",
    "BulkActionStatus",
    "BulkActionsFilter",
    "DagsterGrpcClient",
    "DagsterUserCodeUnreachableError",
    "InstanceRef",
    "ListRepositoriesResponse",
    "PartitionBackfill",
    "SerializableErrorInfo",
]

DAEMON_MODULE: Final = "dagster._daemon"
"""Module that ``python -m`` starts the daemon with: the program ``dagster-daemon`` need not be in
the path."""
