"""The operating-system account that the embedded PostgreSQL runs as.

PostgreSQL refuses to run as root. An ordinary user runs it as themselves; root (containers, CI)
runs it as an unprivileged account, made if need be, which must be able to reach the data and the
binaries.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from valmon_pipeline.errors import StorageError

ACCOUNT: Final = "pgserver"


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """Who runs the server. ``switch`` is False when that is simply the current user."""

    uid: int
    gid: int
    switch: bool

    def own(self, path: Path) -> None:
        """Make ``path`` the account's own, closed to everybody else."""
        if self.switch:
            os.chown(path, self.uid, self.gid)
        path.chmod(0o700)

    def reach(self, path: Path) -> None:
        """Let the account pass through the directories above ``path``; nothing becomes listable."""
        if self.switch:
            for parent in path.resolve().parents:
                _add_mode(parent, stat.S_IXOTH)

    def read(self, tree: Path) -> None:
        """Let the account read and execute what is below ``tree`` (a virtual environment of
        root's)."""
        if self.switch:
            self.reach(tree)
            for path in _walk(tree):
                executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                _add_mode(path, stat.S_IROTH | (stat.S_IXOTH if executable else 0))


def server_account() -> ServerAccount:
    """The account to use. StorageError if we are root and no account can be made."""
    if os.geteuid() != 0:
        return ServerAccount(os.geteuid(), os.getegid(), switch=False)
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        entry = _create()
    return ServerAccount(entry.pw_uid, entry.pw_gid, switch=True)


def _create() -> pwd.struct_passwd:
    command = shutil.which("useradd")
    if command is not None:
        subprocess.run(  # noqa: S603 - a fixed program and name
            [command, "--system", ACCOUNT], check=False, capture_output=True
        )
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise StorageError(
            "PostgreSQL does not run as root and the account "
            f"{ACCOUNT!r} could not be made. Run valmon as an ordinary user, create that account, "
            "or set VALMON_DATABASE_URL to a PostgreSQL of your own."
        ) from None


def _walk(tree: Path) -> Iterator[Path]:
    yield tree
    yield from (path for path in tree.rglob("*") if not path.is_symlink())


def _add_mode(path: Path, mode: int) -> None:
    current = stat.S_IMODE(path.stat().st_mode)
    if current & mode != mode:
        path.chmod(current | mode)
