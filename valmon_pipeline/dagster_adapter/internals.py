"""Names that Dagster does not export, in one place; what each means to us is tested.

A name that moves fails at the import, one whose meaning changes fails in
``valmon_pipeline_tests/dagster_adapter``.
"""

from __future__ import annotations

from typing import Final

from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.tags import GRPC_INFO_TAG, PARTITION_NAME_TAG, PRIORITY_TAG
from dagster._grpc.client import DagsterGrpcClient

__all__ = [
    "DAEMON_MODULE",
    "GRPC_INFO_TAG",
    "PARTITION_NAME_TAG",
    "PRIORITY_TAG",
    "DagsterGrpcClient",
    "DagsterUserCodeUnreachableError",
    "InstanceRef",
]

DAEMON_MODULE: Final = "dagster._daemon"
"""What ``python -m`` starts the daemon with: the program ``dagster-daemon`` need not be in the
path."""
