"""Every key as a table for ``docs/configuration.md``, made from the model so that it stays true.

``python -m valmon_pipeline.config.reference docs/configuration.md`` brings the page up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic.fields import FieldInfo

from valmon_pipeline.config.environment import SHORT_NAMES, settings_keys, variable_of
from valmon_pipeline.config.field_types import FieldType
from valmon_pipeline.config.mistakes import format_key

BEGIN = "<!-- keys: made from the settings model, see valmon_pipeline/config/reference.py -->"
END = "<!-- end of keys -->"


@dataclass(frozen=True, slots=True)
class KeyDescription:
    """What there is to say about one key; texts are Markdown."""

    key: str
    variables: tuple[str, ...]
    default: str
    expected: str
    meaning: str


def key_descriptions() -> Iterator[KeyDescription]:
    """Describe every key that can be set, in the order of the model."""
    for path, field in settings_keys().items():
        full = variable_of(path)
        short = [name for name, stands_for in SHORT_NAMES.items() if stands_for == full]
        yield KeyDescription(
            key=format_key(path),
            variables=(*short, full),
            default=_default(field),
            expected=_expected(field),
            meaning=field.description or "",
        )


def keys_as_markdown() -> str:
    """Return the table of all keys."""
    lines = ["| key and variable | default | values | meaning |", "|---|---|---|---|"]
    for key in key_descriptions():
        names = "<br>".join(f"`{name}`" for name in (key.key, *key.variables))
        lines.append(f"| {names} | {key.default} | {key.expected} | {key.meaning} |")
    return "\n".join(lines)


def updated_page(page: str) -> str:
    """Return ``page`` with the table between the two markers made anew."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{keys_as_markdown()}\n\n{END}{after}"


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "the user's data directory"
    if field.default in (None, ()):
        return "none"
    return f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"


def _expected(field: FieldInfo) -> str:
    kinds = [kind for kind in field.metadata if isinstance(kind, FieldType)]
    if kinds:
        return kinds[0].expected
    item = get_args(field.annotation)[0] if get_origin(field.annotation) is tuple else None
    if get_origin(item) is Annotated:
        kind = next(kind for kind in _metadata(item) if isinstance(kind, FieldType))
        return f"{kind.expected}; or a list of them"
    return "a list"


def _metadata(annotated: Any) -> tuple[Any, ...]:
    return get_args(annotated)[1:]


def main(arguments: list[str]) -> None:
    """Rewrite the pages named."""
    for name in arguments:
        path = Path(name)
        path.write_text(updated_page(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
