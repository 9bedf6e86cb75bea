"""The answers about finalized epochs, kept in a directory or bucket: one file per subject.

Files are recordings like any other (see ``beacon.archive``), so that a replay node can serve them
and nothing but valmon's reader is needed to compute an epoch again. ``pending`` holds answers about
epochs that were not final yet; they are confirmed or discarded when that is decided.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import fsspec  # type: ignore[import-untyped] # has no type information

from valmon_pipeline.beacon.archive import ArchiveError, Exchange, read_exchanges_of
from valmon_pipeline.beacon.redact import redact_url

_SUFFIX: Final = ".jsonl.zst"
_PENDING: Final = "pending"


class AnswerArchive:
    """The archive of one network at an fsspec address, e.g. ``file:///…`` or ``s3://…``.

    Nothing is opened before it is used. All methods raise :class:`ArchiveError` with the address
    (without secrets) when storage refuses.
    """

    def __init__(self, url: str, network: str) -> None:
        self._url = f"{url.rstrip('/')}/{network}"
        local = urlsplit(url).scheme == "file"
        self.name = self._url.removeprefix("file://") if local else redact_url(url)

    def write(self, subject: str, archive: bytes, *, final: bool = True) -> None:
        """Replace what is kept about a subject; readers see the old file or the new one."""
        with self._storage(f"writing {subject}") as (files, directory):
            _replace(files, _path(directory, subject, final), archive)
            if final:
                _remove(files, _path(directory, subject, final=False))

    def confirm(self, subject: str, proof: bytes) -> bool:
        """Make pending answers final; ``proof`` archives the answers that say they are.

        Returns whether there were any.
        """
        with self._storage(f"confirming {subject}") as (files, directory):
            pending = _path(directory, subject, final=False)
            if not files.exists(pending):
                return False
            content = files.cat_file(pending) + proof
            _replace(files, _path(directory, subject, final=True), content)
            _remove(files, pending)
            return True

    def discard(self, subject: str) -> None:
        """Drop pending answers: the chain took another way."""
        with self._storage(f"discarding {subject}") as (files, directory):
            _remove(files, _path(directory, subject, final=False))

    def read(self, subject: str) -> list[Exchange] | None:
        """Return the final answers about a subject, None if there are none."""
        with self._storage(f"reading {subject}") as (files, directory):
            path = _path(directory, subject, final=True)
            if not files.exists(path):
                return None
            content = files.cat_file(path)
        return [*read_exchanges_of(io.BytesIO(content), f"{self.name}/{subject}{_SUFFIX}")]

    def subjects(self) -> list[str]:
        """Return every subject with final answers, ascending."""
        with self._storage("listing") as (files, directory):
            if not files.exists(directory):
                return []
            names = (path.rsplit("/", 1)[-1] for path in files.ls(directory, detail=False))
            return sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))

    @contextmanager
    def _storage(self, what: str) -> Iterator[tuple[Any, str]]:
        try:
            yield fsspec.core.url_to_fs(self._url)
        except ArchiveError:
            raise
        except Exception as error:
            # Every storage has errors of its own; their text may repeat the address.
            kind = type(error).__name__
            detail = error.strerror if isinstance(error, OSError) and error.strerror else kind
            raise ArchiveError(f"archive {self.name}: {what} failed: {detail}") from error


def _path(directory: str, subject: str, final: bool) -> str:
    middle = "" if final else f"{_PENDING}/"
    return f"{directory}/{middle}{subject}{_SUFFIX}"


def _replace(files: Any, path: str, content: bytes) -> None:
    """Object stores replace whole objects; elsewhere a file under another name is moved over."""
    files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    if "file" in files.protocol:
        unfinished = f"{path}.new"
        files.pipe_file(unfinished, content)
        files.mv(unfinished, path)
    else:
        files.pipe_file(path, content)


def _remove(files: Any, path: str) -> None:
    if files.exists(path):
        files.rm_file(path)
