"""A code server whose worker was killed gets another one."""

from __future__ import annotations

from typing import NoReturn

import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._grpc.client import DagsterGrpcClient

from valmon_pipeline.deployment import code_worker
from valmon_pipeline.deployment.code_worker import CodeWorkerGuard


class Server(DagsterGrpcClient):
    """Answers as a code server does whose worker lives, or does not."""

    def __init__(self, *, alive: bool) -> None:
        super().__init__(port=1, host="127.0.0.1")
        self.alive = alive
        self.reloads = 0

    def ping(self, echo: str) -> dict[str, str]:
        if not self.alive:
            raise DagsterUserCodeUnreachableError("Could not reach user code server")
        return {"echo": echo}

    def reload_code(self, timeout: int) -> NoReturn:
        self.reloads += 1
        self.alive = True
        raise DagsterUserCodeUnreachableError("asked too early")


def test_a_worker_that_stays_away_is_started_anew_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_worker, "CHECK_SECONDS", 0.0)
    server, told = Server(alive=True), list[str]()
    guard = CodeWorkerGuard(server, told.append)
    guard.check()
    server.alive = False
    for _ in range(code_worker.FAILURES - 1):
        guard.check()
    assert server.reloads == 0
    for _ in range(3):
        guard.check()
    assert server.reloads == 1
    assert told == ["The code server lost its worker: starting another one"]
