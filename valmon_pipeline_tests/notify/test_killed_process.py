"""A process that is killed after the webhook has accepted a message, and before it noted that."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime

from valmon_pipeline_tests.beacon.scripted_node import Received, Reply
from valmon_pipeline_tests.notify.conftest import Desk, Hook, finding


def test_the_next_process_sends_it_again(desk: Desk, hook: Hook, database_url: str) -> None:
    started = threading.Event()
    process: subprocess.Popen[bytes] | None = None

    def accept_and_kill(request: Received) -> Reply:
        started.wait(60)
        assert process is not None
        process.kill()
        process.wait()
        return Reply(200)

    hook.node.reply("/hook", accept_and_kill, Reply(200))
    desk.now = datetime.now(UTC)
    desk.open(finding(7))
    module = "valmon_pipeline_tests.notify.sending_process"
    command = [sys.executable, "-m", module, database_url, desk.database.schema, hook.address]
    process = subprocess.Popen(command)
    started.set()
    assert process.wait(60) == -signal.SIGKILL
    (row,) = desk.rows()
    assert (row["status"], row["attempts"]) == ("pending", 1)
    desk.later(minutes=5)
    assert desk.send() == (1, 0, 0)
    assert len(hook.titles) == 2
    assert hook.titles[0] == hook.titles[1]
