"""Who is watched as the configuration says it now: its file may be edited while valmon runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from valmon_pipeline.config.loading import find_config_file, load_settings
from valmon_pipeline.config.watch_list import WatchList

_Stamp = tuple[Path, int, int, int]


class CurrentWatchList:
    """The watch list; called, it reads the configuration again if its file is another one by now.

    ``known`` is what was read at the start; ``path`` and ``environ`` are those of
    :func:`load_settings`.
    """

    def __init__(
        self,
        known: WatchList,
        path: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._watch_list = known
        self._path = path
        self._environ = os.environ if environ is None else environ
        # Not the file's stamp of now: it may have been edited since `known` was read.
        self._read: _Stamp | None = None

    def __call__(self) -> WatchList:
        """The watch list of the configuration.

        Raises:
            ConfigurationError: the configuration cannot be read or has mistakes, whatever they are
                about; it is read again at the next call.
        """
        file = find_config_file(self._path, self._environ)
        stamp = None if file is None else _stamp(file)
        if stamp is None or stamp != self._read:
            self._watch_list = load_settings(self._path, self._environ).watch_list
            self._read = stamp
        return self._watch_list


def _stamp(file: Path) -> _Stamp | None:
    """What changes when a file is written or replaced; None if it cannot be read."""
    try:
        status = file.stat()
    except OSError:
        return None
    return file, status.st_ino, status.st_mtime_ns, status.st_size
