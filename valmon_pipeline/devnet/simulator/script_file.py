"""Scripts of incidents in YAML, for the command line.

A list; each entry names one incident of ``incidents``, in lower case with underscores:

    - offline: {validators: 0..47, epochs: 5..12}
    - skipped_slot: {slot: 20}
    - attester_slashing: {slot: 33, validators: [7, 9]}

``A..B`` includes both ends. Validators are a list of indices and ranges, or one of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Final

import yaml

from valmon_pipeline.devnet.simulator import incidents as words
from valmon_pipeline.devnet.simulator.incidents import Incident
from valmon_pipeline.errors import ConfigurationError

_RANGE: Final = re.compile(r"(\d+)\.\.(\d+)")
_BASES: Final = (words.Incident, words.Spell, words.Operation, words.NodeFault)


class _MistakeError(Exception):
    """An entry of a script cannot be understood."""


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


INCIDENTS: Final[Mapping[str, type[Incident]]] = {
    _snake_case(name): kind
    for name, kind in vars(words).items()
    if isinstance(kind, type) and issubclass(kind, Incident) and kind not in _BASES
}
"""The incidents by their names in script files."""


def read_script(path: Path) -> list[Incident]:
    """Return the incidents of a script file.

    Raises:
        ConfigurationError: the file cannot be read, or names every entry that cannot be understood.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: cannot read the script: {error}") from error
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise ConfigurationError(f"{path}: a script is a list of incidents")
    incidents, mistakes = [], []
    for number, entry in enumerate(entries, start=1):
        try:
            incidents.append(_incident(entry))
        except _MistakeError as error:
            mistakes.append(f"- incident {number}: {error}")
    if mistakes:
        raise ConfigurationError(f"{path}: the script is wrong:\n" + "\n".join(mistakes))
    return incidents


def _incident(entry: object) -> Incident:
    if not isinstance(entry, dict) or len(entry) != 1:
        raise _MistakeError(f"{entry!r} does not have the form `name: {{field: value}}`")
    ((name, values),) = entry.items()
    kind = INCIDENTS.get(str(name))
    if kind is None:
        raise _MistakeError(f"{name!r} is not one of {', '.join(INCIDENTS)}")
    if not isinstance(values, dict):
        raise _MistakeError(f"{name} needs its fields, not {values!r}")
    known = {field.name: field for field in fields(kind)}
    unknown = sorted(map(str, values.keys() - known.keys()))
    required = {field.name for field in known.values() if field.default is MISSING}
    missing = sorted(required - values.keys())
    if unknown or missing:
        problems = [f"no field {field!r}" for field in unknown]
        problems += [f"{field} is missing" for field in missing]
        raise _MistakeError(f"{name}: {', '.join(problems)}")
    return kind(**{field: _value(name, field, value) for field, value in values.items()})


def _value(name: str, field: str, value: object) -> Any:
    where = f"{name}: {field}"
    if field == "validators":
        listed = value if isinstance(value, list) else [value]
        return [index for part in listed for index in _range(where, part)]
    if field in ("epochs", "slots"):
        return _range(where, value)
    if field == "credentials":
        return str(value)
    if field == "rate":
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _MistakeError(f"{where} is {value!r}, expected a number")
        return float(value)
    return _integer(where, value)


def _range(where: str, value: object) -> range:
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if match:
        return range(int(match[1]), int(match[2]) + 1)
    first = _integer(where, value)
    return range(first, first + 1)


def _integer(where: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _MistakeError(f"{where} is {value!r}, expected an integer or A..B")
    return value
