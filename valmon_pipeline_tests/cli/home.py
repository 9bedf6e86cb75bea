"""A home that commands are run in, as an operator runs them: a process each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

COMMAND_SECONDS: Final = 240.0


@dataclass(frozen=True)
class Finished:
    """A command that ended: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self
        return json.loads(self.out)


class Up:
    """A running ``valmon up``, with what it has printed so far."""

    def __init__(self, process: subprocess.Popen[bytes], printed: Path) -> None:
        self.process = process
        self._printed = printed

    @property
    def printed(self) -> str:
        return self._printed.read_text()

    @property
    def ui(self) -> str:
        line = next(line for line in self.printed.splitlines() if line.startswith("Dagster UI:"))
        return line.split()[2]

    def wait_for(self, text: str) -> None:
        """Wait until it has printed something; fail if it ends first."""
        wait_until(lambda: text in self.printed or self.process.poll() is not None)
        assert text in self.printed, self.printed

    def end(self, number: signal.Signals | None = None) -> int:
        """Its exit code, after a signal."""
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(COMMAND_SECONDS)

    def ask(self, query: str, variables: Mapping[str, Any] | None = None) -> Any:
        """The data of a GraphQL answer."""
        question = {"query": query, "variables": variables or {}}
        answer = httpx.post(f"{self.ui}/graphql", json=question, timeout=30).json()
        assert "errors" not in answer, answer
        return answer["data"]


@dataclass
class Home:
    """``VALMON_HOME`` and the variables that commands in it get."""

    path: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment without anything of valmon's or Dagster's, and the home."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("VALMON_", "DAGSTER_"))
        }
        return {**inherited, "VALMON_HOME": str(self.path), **self.variables}

    def run(self, *arguments: str) -> Finished:
        """Run a command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "valmon_pipeline", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def up(self, *arguments: str) -> Iterator[Up]:
        """Run ``valmon up``; whatever is left of it at the end is stopped."""
        self.path.mkdir(parents=True, exist_ok=True)
        printed = self.path / "printed.txt"
        with printed.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "valmon_pipeline", "up", *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield Up(process, printed)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(COMMAND_SECONDS)
            if self.processes():
                self.run("down")

    def processes(self) -> list[str]:
        """The command lines of all processes that run for this home.

        A process is known by its environment (where a system shows it), else its command line.
        """
        shown = subprocess.run(
            ["ps", "-A", "-ww", "-o", "pid=,stat=,command="],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        return [line for line in shown if self._has(line)]

    def _has(self, line: str) -> bool:
        pid, state, command = line.split(maxsplit=2)
        if state.startswith("Z") or int(pid) == os.getpid():
            return False
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            variables = []
        return str(self.path) in command or f"VALMON_HOME={self.path}".encode() in variables


def wait_until(happened: Callable[[], bool], seconds: float = COMMAND_SECONDS) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"it has not happened after {seconds:.0f} s"
        time.sleep(0.1)
