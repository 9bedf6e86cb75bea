"""Dagster's ``dagster.yaml`` in a home: valmon's settings of this version, and what the user set.

The file belongs to both. ``dagster.yaml.valmon`` beside it records what valmon set last: where the
file differs from that, the user changed it, and it stays so. Everything else follows the version of
valmon. A file that has to be merged loses its comments, and the old one is kept as
``dagster.yaml.before``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from dagster import DagsterInvalidConfigError

from valmon_pipeline.dagster_adapter.internals import InstanceRef
from valmon_pipeline.errors import ConfigurationError

NAME: Final = "dagster.yaml"
RECORD: Final = f"{NAME}.valmon"
BEFORE: Final = f"{NAME}.before"
DATABASE_VARIABLE: Final = "DAGSTER_POSTGRES_URL"
_MERGED: Final = (
    "# Merged from valmon's settings and yours, see docs/deployment.md of valmon; the file as it\n"
    f"# was, with its comments, is {BEFORE}.\n"
)
_MISSING: Final = object()
_OWN_STORAGE: Final = ("run_storage", "event_log_storage", "schedule_storage")
"""Keys that Dagster does not take beside ``storage``."""

Settings = Mapping[str, Any]


def bring_up_to_date(home: Path, shipped: str, tell: Callable[[str], None]) -> None:
    """Make ``dagster.yaml`` in ``home`` what it should be, from the text of this version.

    ``tell`` is told of what the user set and cannot be used.

    Raises:
        ConfigurationError: the file is not YAML, or Dagster does not take it; nothing is changed.
    """
    file, record = home / NAME, home / RECORD
    ours = yaml.safe_load(shipped)
    written = file.read_text() if file.exists() else None
    theirs = {} if written is None else _settings(written, file)
    base = _settings(record.read_text(), record) if record.exists() else {}
    if "run_queue" in theirs:
        # Dagster takes one of them, and limits within it only without `concurrency`.
        del ours["run_coordinator"], ours["concurrency"]
    merged = usable(merge(base, theirs, ours), ours, tell)
    if written is not None and merged == theirs:
        text = written
    elif merged == yaml.safe_load(shipped):
        text = shipped
    else:
        text = _MERGED + yaml.safe_dump(merged, sort_keys=False)
    _replace(file, text, lambda new: _require_valid(new, file))
    if written not in (None, text):
        (home / BEFORE).write_text(str(written))
    _replace(record, yaml.safe_dump(ours, sort_keys=False), lambda _: None)


def merge(base: Any, theirs: Any, ours: Any) -> Any:
    """What the user set, over what valmon sets: ``ours`` where ``theirs`` is still ``base``.

    Sections are merged key by key, except those that name a class: its settings belong to it.
    """
    if theirs == base:
        return ours
    if not _is_section(theirs) or not _is_section(ours):
        return theirs
    before = base if isinstance(base, Mapping) else {}
    merged = {}
    for key in {**ours, **theirs}:
        value = merge(before.get(key, _MISSING), theirs.get(key, _MISSING), ours.get(key, _MISSING))
        if value is not _MISSING:
            merged[key] = value
    return merged


def usable(merged: Settings, ours: Settings, tell: Callable[[str], None]) -> Settings:
    """The same with valmon's storage where another one is set, of which ``tell`` is told."""
    misplaced = [name for name in _OWN_STORAGE if name in merged]
    if not misplaced and _mentions(merged.get("storage"), DATABASE_VARIABLE):
        return merged
    tell(
        f"{NAME}: {', '.join(misplaced) or 'storage'} is not used. valmon needs Dagster's storage "
        f"in the PostgreSQL database that {DATABASE_VARIABLE} names; to have it elsewhere, set "
        "database.dagster_url in valmon.yaml"
    )
    kept = {name: value for name, value in merged.items() if name not in misplaced}
    return {**kept, "storage": ours["storage"]}


def _is_section(value: Any) -> bool:
    """Whether a value is a mapping whose keys are independent of each other."""
    return isinstance(value, Mapping) and not {"module", "custom", "postgres"} & value.keys()


def _mentions(value: Any, variable: str) -> bool:
    if isinstance(value, Mapping):
        return value == {"env": variable} or any(_mentions(v, variable) for v in value.values())
    return False


def _settings(text: str, file: Path) -> Settings:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file} is not YAML: {error}") from None
    if not isinstance(content, Mapping | None):
        raise ConfigurationError(f"{file} must hold keys and values, see Dagster's documentation")
    return content or {}


def _require_valid(new: Path, file: Path) -> None:
    """Have Dagster check the keys of ``new``, which is about to become ``file``."""
    try:
        InstanceRef.from_dir(str(new.parent), config_filename=new.name)
    except DagsterInvalidConfigError as error:
        reasons = "; ".join(one.message for one in error.errors) or error.message
        raise ConfigurationError(
            f"{file}: Dagster does not take these settings: {reasons}. Correct them, or delete the "
            "file to have valmon's own"
        ) from None


def _replace(file: Path, text: str, check: Callable[[Path], None]) -> None:
    """Write a file whole or not at all, if it passes the check."""
    new = file.with_name(f".new.{file.name}")
    new.write_text(text)
    try:
        check(new)
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
