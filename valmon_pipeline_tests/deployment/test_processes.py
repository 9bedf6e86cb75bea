"""Children that come up or do not, end by themselves, will not end, or leave children behind."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from valmon_pipeline.deployment import file_lock
from valmon_pipeline.deployment.listening import socket_at
from valmon_pipeline.deployment.processes import (
    ManagedProcess,
    ProcessFailedError,
    answers,
    free_port,
    stop_all,
)

SLEEP = "import time; print('ready', flush=True); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP


class Nursery:
    """Starts Python programs, and stops them all at the end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.started: list[ManagedProcess] = []

    def start(self, program: str, name: str = "child", **environment: str) -> ManagedProcess:
        process = ManagedProcess(
            name,
            [sys.executable, "-c", program],
            environment,
            self._directory / "logs" / f"{name}.log",
        )
        process.start()
        self.started.append(process)
        return process

    def start_and_wait(self, program: str, name: str = "child") -> ManagedProcess:
        process = self.start(program, name)
        process.wait_until(lambda: "ready" in process.log.read_text(), 20)
        return process


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path)
    yield nursery
    stop_all(nursery.started, 0)


def ended(process: ManagedProcess) -> None:
    with pytest.raises(ProcessFailedError):
        process.wait_until(lambda: False, 20)


def test_a_process_that_ends_by_itself_is_told_with_the_end_of_its_log(nursery: Nursery) -> None:
    process = nursery.start("for n in range(30): print('line', n)\nraise SystemExit(3)")
    ended(process)
    with pytest.raises(ProcessFailedError) as failure:
        process.require_running()
    message = str(failure.value)
    assert "child ended by itself with code 3" in message
    assert str(process.log) in message
    assert message.endswith("  line 29")
    assert "line 18\n" in message
    assert "line 17\n" not in message


def test_a_process_that_was_killed_is_told_with_the_signal(nursery: Nursery) -> None:
    process = nursery.start_and_wait(SLEEP)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    with pytest.raises(ProcessFailedError, match="by signal SIGKILL"):
        process.require_running()


def test_a_process_that_takes_too_long_is_told_with_the_end_of_its_log(nursery: Nursery) -> None:
    process = nursery.start_and_wait(SLEEP)
    with pytest.raises(ProcessFailedError, match=r"not ready after 0 s; .*\n  ready"):
        process.wait_until(lambda: False, 0.1)


def test_a_process_that_does_not_want_to_end_is_killed_at_the_deadline(nursery: Nursery) -> None:
    process = nursery.start_and_wait(STUBBORN)
    started = time.monotonic()
    stop_all([process], 0.3)
    assert 0.3 <= time.monotonic() - started < 5
    with pytest.raises(ProcessFailedError, match="SIGKILL"):
        process.require_running()


def test_what_a_process_started_is_stopped_with_it(nursery: Nursery) -> None:
    process = nursery.start(
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()"  # until it is deaf to SIGTERM
    )
    ended(process)  # the child alone is left
    assert process.is_left
    stop_all([process], 0.2)
    assert not file_lock.is_held(process.log)


def test_processes_are_stopped_together(nursery: Nursery) -> None:
    slow = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), exit()))\n" + SLEEP
    )
    processes = [nursery.start_and_wait(slow, name) for name in ("first", "second", "third")]
    started = time.monotonic()
    stop_all(processes)
    assert time.monotonic() - started < 1.4
    assert not any(process.is_left for process in processes)


def test_stopping_what_was_never_started_is_nothing(tmp_path: Path) -> None:
    stop_all([ManagedProcess("never", ["false"], {}, tmp_path / "never.log")])


def test_a_log_has_one_writer(nursery: Nursery) -> None:
    nursery.start_and_wait(SLEEP)
    with pytest.raises(ProcessFailedError, match=r"an earlier child of this home still runs"):
        nursery.start(SLEEP)


def test_a_log_goes_on_where_the_last_start_left_it(nursery: Nursery) -> None:
    for _ in range(2):
        ended(nursery.start("print('once')"))
    assert nursery.started[0].log.read_text() == "once\nonce\n"


def test_a_log_that_is_too_long_begins_anew_and_its_writer_goes_on(nursery: Nursery) -> None:
    process = nursery.start_and_wait(
        "print('ready', flush=True)\n"
        "import signal; signal.signal(signal.SIGUSR1, lambda *_: print('more', flush=True))\n"
        "import time; print('set', flush=True); time.sleep(60)"
    )
    process.wait_until(lambda: "set" in process.log.read_text(), 20)
    before = process.log.with_name("child.log.1")
    process.bound_log(len("ready\nset\n"))
    assert not before.exists()
    process.bound_log(8)
    assert before.read_text() == "ready\nset\n"
    assert process.log.read_text() == ""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGUSR1)
    process.wait_until(lambda: process.log.read_text() == "more\n", 20)
    with pytest.raises(ProcessFailedError, match="still runs"):  # it holds its lock as before
        nursery.start(SLEEP)


def test_where_a_log_cannot_be_copied_it_still_begins_anew(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    process = nursery.start("print('line')")
    ended(process)
    process.bound_log(2)
    assert process.log.read_text() == ""
    assert not process.log.with_name("child.log.1").exists()


def test_children_get_our_environment_and_their_own(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INHERITED", "1")
    process = nursery.start("import os; print(os.environ['INHERITED'], os.environ['OWN'])", OWN="2")
    ended(process)
    assert process.log.read_text() == "1 2\n"


def test_a_child_takes_over_a_socket_that_nobody_could_take_meanwhile(tmp_path: Path) -> None:
    listening = socket_at(None)
    port, descriptor = listening.getsockname()[1], str(listening.fileno())
    assert free_port(port) != port
    program = (
        "import socket, sys; taken = socket.socket(fileno=int(sys.argv[1])); "
        "print('ready', flush=True); taken.accept()[0].sendall(b'hello')"
    )
    process = ManagedProcess(
        "server", [sys.executable, "-c", program, descriptor], {}, tmp_path / "log", listening
    )
    try:
        process.start()
        process.wait_until(lambda: "ready" in process.log.read_text(), 20)
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            assert connection.recv(16) == b"hello"
        ended(process)
        assert not answers(port)
    finally:
        stop_all([process], 0)


def test_the_preferred_port_is_taken_if_nobody_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken: int = listening.getsockname()[1]
        assert answers(taken)
        other = free_port(taken)
        assert other != taken
    assert not answers(taken)
    assert free_port(taken) == taken
