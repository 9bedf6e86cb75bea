"""Runs a command and makes every line that it, or anything it starts, prints a JSON object.

    python -m valmon_pipeline.deployment.json_lines NAME COMMAND …

Loggers alone are not enough: what libraries print before they are set up, and what a process prints
as it dies, is in no format of ours. Lines that are JSON already keep their fields. It lives until
nobody can print any more, and ends with the command's exit code. SIGTERM and SIGINT are for the
command, which gets them as one of the same process group.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from valmon_pipeline.config import load_settings
from valmon_pipeline.config.secrets import secrets_of
from valmon_pipeline.telemetry.json_logs import Redactor

_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
_LEVEL: Final = re.compile(r"\b(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")
_RUN: Final = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_RENAMED: Final = {"event": "message", "timestamp": "time"}


def command_in_json(name: str, command: Sequence[str]) -> list[str]:
    """The command that runs ``command`` so."""
    return [sys.executable, "-m", "valmon_pipeline.deployment.json_lines", name, *command]


def as_json_line(
    line: str,
    process: str,
    redact: Redactor,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> str:
    """``line`` as a JSON object with at least time, level, process and message.

    The names that structlog gives to message and time, which Dagster logs with, become ours; where
    a line of text names a run, that is its ``run_id``.
    """
    plain = _ANSI.sub("", line.rstrip("\r\n"))
    try:
        # Read first: JSON's escapes would hide a secret from who looks for it.
        fields: Any = _redacted(json.loads(plain), redact)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        plain = redact(plain)
        named, run = _LEVEL.search(plain), _RUN.search(plain)
        fields = {"level": named[1] if named else "INFO", "message": plain}
        fields |= {"run_id": run[0]} if run else {}
    fields = {_RENAMED.get(name, name): value for name, value in fields.items()}
    at = fields.pop("time", None) or now().isoformat(timespec="milliseconds")
    level = str(fields.pop("level", "INFO")).upper()
    return json.dumps(
        {"time": at, "level": level, "process": process, **fields}, ensure_ascii=False
    )


def _redacted(value: Any, redact: Redactor) -> Any:
    """What JSON says, without secrets in any of its texts."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redacted(one, redact) for one in value]
    if isinstance(value, dict):
        return {redact(name): _redacted(one, redact) for name, one in value.items()}
    return value


def run(process: str, command: Sequence[str], redact: Redactor) -> int:
    """Run a command until nobody can print any more; its exit code."""
    child = subprocess.Popen(  # noqa: S603 - the command is our own
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        close_fds=False,  # a socket we were given to inherit is for the command
    )
    assert child.stdout is not None
    for line in child.stdout:
        sys.stdout.write(as_json_line(line.decode(errors="replace"), process, redact) + "\n")
        sys.stdout.flush()
    return child.wait()


def main() -> None:
    """Run what the arguments say."""
    process, *command = sys.argv[1:]
    redact = Redactor(secrets_of(load_settings()))
    # Handled rather than ignored: what is ignored, the command would ignore, too.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    code = run(process, command, redact)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
