"""What ``valmon up`` tells other commands of the same home, and how they know that it is there.

The file ``up.json`` says what runs; the lock on ``up.lock`` says that it is true.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from valmon_pipeline.deployment import file_lock
from valmon_pipeline.deployment.code_location import CodeLocation
from valmon_pipeline.deployment.installation import Installation


@dataclass(frozen=True, slots=True)
class UpState:
    """One ``valmon up``: its process id, network and addresses, None as long as they are unknown.

    ``code_server`` is ``host:port``, the other addresses are URLs. ``processes`` has the process
    group of everything it started, by the name of its log.
    """

    pid: int
    network: str
    node_url: str | None
    ui_url: str | None
    processes: Mapping[str, int]
    metrics_url: str | None = None
    code_server: str | None = None

    @property
    def code_location(self) -> CodeLocation | None:
        """The code location that is served, None while the code server starts."""
        if self.code_server is None:
            return None
        host, _, port = self.code_server.rpartition(":")
        return CodeLocation(host, int(port))

    def write(self, path: Path) -> None:
        """Write it so that a reader sees all of it or nothing."""
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> UpState | None:
        """What was last written, by whom ever; None if nothing that can be read was."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None


def lock_file(installation: Installation) -> Path:
    """What ``valmon up`` keeps locked while it lives."""
    return installation.state_file.with_suffix(".lock")


def running_up(installation: Installation) -> UpState | None:
    """The ``valmon up`` that serves this home now, None if there is none."""
    if not file_lock.is_held(lock_file(installation)):
        return None
    return UpState.read(installation.state_file)
