"""Environment variables laid over the file: ``VALMON_<KEY>``, sections joined with ``__``."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from valmon_pipeline.config.channels import is_address_variable
from valmon_pipeline.config.mistakes import KeyPath, Mistake, Place, format_key
from valmon_pipeline.config.settings import Settings
from valmon_pipeline.config.yaml_file import Document

PREFIX = "VALMON_"
CONFIG_VARIABLE = "VALMON_CONFIG"
SHORT_NAMES: Mapping[str, str] = {
    "VALMON_BEACON_URL": "VALMON_BEACON_NODE_URL",
    "VALMON_DATABASE_URL": "VALMON_DATABASE__URL",
}

_NOT_SETTINGS = re.compile(
    # the file itself; what workspace.yaml, `valmon migrate --reader` and the test suite read
    r"VALMON_(CONFIG|CODE_SERVER_HOST|CODE_SERVER_PORT|READER_PASSWORD|TEST_.*)"
    # what Kubernetes gives every container of a namespace for services named valmon…
    r"|VALMON_(.+_)?SERVICE_(HOST|PORT)(_.+)?"
    r"|VALMON_(.+_)?PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?"
)


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a field that is a section of keys, None for a plain key."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def entry_section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of the entries of a field that is a list of sections, else None."""
    if get_origin(field.annotation) is not tuple:
        return None
    kind = get_args(field.annotation)[0]
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def settings_keys(
    model: type[BaseModel] = Settings, path: KeyPath = ()
) -> dict[KeyPath, FieldInfo]:
    """Return every key that can be set, by its path, in the order of the model."""
    keys: dict[KeyPath, FieldInfo] = {}
    for name, field in model.model_fields.items():
        section = section_of(field)
        here = (*path, name)
        keys |= {here: field} if section is None else settings_keys(section, here)
    return keys


def variable_of(path: KeyPath) -> str:
    """Return the full name of the variable that sets ``path``."""
    return PREFIX + "__".join(str(part).upper() for part in path)


def overlay_environment(document: Document, environ: Mapping[str, str]) -> None:
    """Replace keys of ``document`` by those set in ``environ``; empty variables count as unset.

    Lists are comma-separated or JSON. Unknown ``VALMON_`` names are noted as mistakes, because a
    mistyped variable that is ignored is worse than one that stops the start.
    """
    keys = {variable_of(path): path for path in settings_keys()}
    fields = settings_keys()
    used: dict[str, str] = {}
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        text = environ[variable].strip()
        name = SHORT_NAMES.get(variable, variable)
        if name not in keys:
            if text and not (_NOT_SETTINGS.fullmatch(variable) or is_address_variable(variable)):
                document.mistakes.append(_unknown(variable, [*keys, *SHORT_NAMES]))
            continue
        if not text:
            continue
        path = keys[name]
        if name in used and environ[used[name]].strip() != text:
            problem = f"{used[name]} sets the same with another value; keep one of the two"
            document.mistakes.append(Mistake(Place(format_key(path), variable=variable), problem))
            continue
        used[name] = variable
        _set(document, path, fields[path], variable, text)


def _set(document: Document, path: KeyPath, field: FieldInfo, variable: str, text: str) -> None:
    place = Place(format_key(path), variable=variable)
    value: Any = text
    if get_origin(field.annotation) is tuple:
        try:
            value = _list(text)
        except ValueError:
            problem = "expected a comma-separated list or JSON; this starts like JSON but is not"
            document.mistakes.append(Mistake(place, problem))
            return
    elif path == ("home",):
        value = str(Path(text).expanduser().absolute())  # as a shell user means it
    parent = document.data
    for part in path[:-1]:
        if parent.get(str(part)) is None:
            parent[str(part)] = {}
        parent = parent[str(part)]
        if not isinstance(parent, dict):
            return  # the file has something else there, and is told so
    parent[str(path[-1])] = value
    for written in [known for known in document.places if known[: len(path)] == path]:
        del document.places[written]
    document.places[path] = place


def _list(text: str) -> list[Any]:
    if text[0] in "[{":
        value = json.loads(text)
        return value if isinstance(value, list) else [value]
    # an address may hold commas: split those only where the next address begins
    parts = re.split(r",\s*(?=[a-z+]+://)" if "://" in text else ",", text)
    return [part.strip() for part in parts if part.strip()]


def _unknown(variable: str, known: list[str]) -> Mistake:
    names = [name.removeprefix(PREFIX) for name in known]
    close = difflib.get_close_matches(variable.removeprefix(PREFIX), names, n=1, cutoff=0.7)
    hint = f"; did you mean {PREFIX}{close[0]}?" if close else ""
    return Mistake(Place(variable, variable=variable), f"unknown variable{hint}")
