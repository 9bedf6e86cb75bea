"""From a file and an environment to :class:`Settings`, or to one list of everything wrong."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from valmon_pipeline.config import eth_validator_watcher
from valmon_pipeline.config.beacon_nodes import LONG_FORM, SHORT_FORM, contradictions
from valmon_pipeline.config.channels import overlay_addresses
from valmon_pipeline.config.environment import (
    CONFIG_VARIABLE,
    entry_section_of,
    overlay_environment,
    section_of,
    settings_keys,
)
from valmon_pipeline.config.mistakes import (
    InvalidConfigurationError,
    KeyPath,
    Mistake,
    format_key,
    shown,
    shown_address,
)
from valmon_pipeline.config.settings import Settings, default_home
from valmon_pipeline.config.validators import (
    ValidatorEntry,
    WatchedKey,
    hidden_problems,
)
from valmon_pipeline.config.watch_list import Duplicate, Entry, find_duplicates
from valmon_pipeline.config.yaml_file import Document, read_yaml

ENTRY_MODELS: Mapping[str, type[ValidatorEntry] | type[WatchedKey]] = {
    "validators": ValidatorEntry,
    "watched_keys": WatchedKey,
}


def find_config_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file to read: ``path``, else ``VALMON_CONFIG``, else ``<home>/valmon.yaml``.

    None when no file is named and the last one does not exist: then the defaults hold.
    """
    if path is not None:
        return path
    named = environ.get(CONFIG_VARIABLE, "").strip()
    if named:
        return Path(named).expanduser()
    home = environ.get("VALMON_HOME", "").strip()
    usual = (Path(home).expanduser() if home else default_home()) / "valmon.yaml"
    return usual if usual.is_file() else None


def load_settings(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the configuration file and lay the environment (default: the process's) over it.

    Raises:
        ConfigurationError: the file cannot be read.
        InvalidConfigurationError: a ConfigurationError that lists every mistake in both.
    """
    environ = os.environ if environ is None else environ
    file = find_config_file(path, environ)
    document = Document() if file is None else read_yaml(file)
    eth_validator_watcher.translate(document)
    overlay_environment(document, environ)
    overlay_addresses(document, environ)
    source = "environment variables" if file is None else str(file)
    return settings_of(document, source)


def settings_of(document: Document, source: str) -> Settings:
    """Validate a document; ``source`` names it in the error that lists its mistakes."""
    data = dict(document.data)
    mistakes = list(document.mistakes)
    # entry by entry, so that duplicates are found even when something else is wrong
    entries: list[tuple[KeyPath, Entry]] = []
    for name in ENTRY_MODELS:
        if isinstance(data.get(name), list):
            data[name] = _entries(name, data[name], document, entries, mistakes)
    paths = [path for path, _ in entries]
    duplicates = find_duplicates([entry for _, entry in entries])
    mistakes += [_duplicate(duplicate, paths, document) for duplicate in duplicates]
    mistakes += contradictions(data, document)
    settings = None
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        mistakes += [_mistake(details, (), document) for details in error.errors()]
    if settings is None or mistakes:
        raise InvalidConfigurationError(source, mistakes)
    return settings


def _entries(
    name: str,
    written: Sequence[Any],
    document: Document,
    entries: list[tuple[KeyPath, Entry]],
    mistakes: list[Mistake],
) -> list[ValidatorEntry | WatchedKey]:
    model = ENTRY_MODELS[name]
    valid: list[ValidatorEntry | WatchedKey] = []
    for position, value in enumerate(written):
        path = (name, position)
        try:
            entry = model.model_validate(value)
        except ValidationError as error:
            mistakes += [_mistake(details, path, document) for details in error.errors()]
            if any(details["loc"] for details in error.errors()):
                problems = hidden_problems(model, value)
                mistakes += [Mistake(document.place(path), problem) for problem in problems]
            continue
        valid.append(entry)
        entries.append((path, entry))
    return valid


def _duplicate(duplicate: Duplicate, paths: Sequence[KeyPath], document: Document) -> Mistake:
    place = document.place(paths[duplicate.position])
    many = ".." in duplicate.validators
    who = f"validator{'s' if many else ''} {duplicate.validators} {'are' if many else 'is'}"
    if duplicate.position == duplicate.first:
        return Mistake(place, f"{who} listed twice in this entry")
    return Mistake(place, f"{who} already listed ({document.place(paths[duplicate.first])})")


def _mistake(details: ErrorDetails, prefix: KeyPath, document: Document) -> Mistake:
    path: KeyPath = (*prefix, *details["loc"])
    place = document.place(path)
    kind = details["type"]
    if kind == "extra_forbidden":
        return Mistake(place, f"unknown key{_did_you_mean(path)}")
    if kind == "missing":
        return Mistake(place, f"{path[-1]} is missing")
    if kind in ("model_type", "model_attributes_type"):
        return Mistake(place, f"expected {_section_text(path)}")
    if kind in ("tuple_type", "list_type"):
        return Mistake(place, "expected a list")
    if kind == "valmon":
        show = shown_address if _is_address(path) else shown
        return Mistake(place, details["msg"], show(details["input"]))
    # text fields without a type of their own; pydantic's sentence does not hold the value
    return Mistake(place, details["msg"])


def _is_address(path: KeyPath) -> bool:
    if path[0] == LONG_FORM:
        return path[-1] in ("url", "name")
    return path[0] == SHORT_FORM or path in (
        ("database", "url"),
        ("database", "dagster_url"),
        ("alerts", "heartbeat", "url"),
    )


def _model_at(path: KeyPath) -> type[BaseModel] | None:
    """Return the model that has the keys below ``path``."""
    if len(path) == 2 and path[0] in ENTRY_MODELS:
        return ENTRY_MODELS[str(path[0])]
    model: type[BaseModel] | None = Settings
    for part in path:
        if isinstance(part, int):  # `model` is that of the list's entries
            continue
        field = None if model is None else model.model_fields.get(part)
        model = None if field is None else section_of(field) or entry_section_of(field)
    return model


def _section_text(path: KeyPath) -> str:
    model = _model_at(path)
    keys = ", ".join(model.model_fields) if model is not None else ""
    return f"a section with the keys {keys}, one per line, indented"


def _did_you_mean(path: KeyPath) -> str:
    """Guess the key that was meant: one of the same section, or the same name elsewhere."""
    model = _model_at(path[:-1])
    siblings = {} if model is None else {name: (*path[:-1], name) for name in model.model_fields}
    everywhere = {str(key[-1]): key for key in settings_keys()}
    name = str(path[-1]).lower().replace("-", "_").replace(" ", "_")
    for candidates in (siblings, everywhere):
        close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.7)
        if close:
            return f"; did you mean {format_key(candidates[close[0]])}?"
    return f"; known here: {', '.join(siblings)}" if len(siblings) < 10 else ""
