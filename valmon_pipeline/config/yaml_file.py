"""A YAML file as plain data that remembers the line of every value.

Scalars follow YAML 1.2, not PyYAML's 1.1: there, an unquoted public key is read as a number,
``no`` as false, ``12:30`` as 750 and ``010`` as 8. Numbers of more than 24 characters stay text,
so that a public key without ``0x`` survives whatever its digits are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from valmon_pipeline.config.mistakes import (
    InvalidConfigurationError,
    KeyPath,
    Mistake,
    Place,
    format_key,
)
from valmon_pipeline.errors import ConfigurationError

_BaseLoader: type[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

_INTEGER = re.compile(r"[-+]?[0-9]{1,23}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DEEPEST = 20
_ADVICE = {
    "mapping values are not allowed": "check the indentation, and put text with a colon in quotes",
    "cannot start any token": "put text that begins with such a character in quotes",
    "undefined alias": "put text that begins with * in quotes",
    "unknown escape": "use single quotes for text with a backslash",
}
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Document:
    """Plain data, where each value was written, and what is wrong with the writing itself.

    ``data`` holds dicts with text keys, lists, text, int, float, bool and None; ``places`` has an
    entry per key path in it.
    """

    def __init__(self) -> None:
        """Start empty, as with a file that has nothing in it."""
        self.data: dict[str, Any] = {}
        self.places: dict[KeyPath, Place] = {}
        self.mistakes: list[Mistake] = []

    def place(self, path: KeyPath) -> Place:
        """Return the place of ``path``, or of its closest parent that was written somewhere."""
        for length in range(len(path), 0, -1):
            found = self.places.get(path[:length])
            if found is not None:
                return found
        return Place(format_key(path))


def read_yaml(path: Path) -> Document:
    """Read ``path``; what cannot be read at all raises, the rest is noted in ``mistakes``.

    Raises:
        ConfigurationError: the file is missing, unreadable or not text in UTF-8.
        InvalidConfigurationError: it is not YAML; without a tree there is nothing more to check.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(
            f"{path}: cannot read the configuration file: {reason}. "
            "Give its path with --config or VALMON_CONFIG."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path}: not a text file in UTF-8 (byte {error.start} is not part of any character)"
        ) from None
    return parse_yaml(text, source=str(path))


def parse_yaml(text: str, source: str) -> Document:
    """Parse YAML ``text`` into a document; ``source`` names it in error messages."""
    document = Document()
    try:
        # `from None` everywhere: PyYAML's message quotes the line, which may hold a password
        _refuse_deep_nesting(text, source)
        root = yaml.compose(text, Loader=_BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        mistake = Mistake(Place("", line), f"not valid YAML: {_problem(error, text)}")
        raise InvalidConfigurationError(source, [mistake]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"a character that YAML does not allow (#x{error.character:04x})"
        raise InvalidConfigurationError(source, [Mistake(Place("", line), problem)]) from None
    if root is None or (isinstance(root, yaml.ScalarNode) and root.value in _WORDS):
        return document
    if not isinstance(root, yaml.MappingNode):
        problem = "expected lines of the form `key: value` at the top of the file"
        mistake = Mistake(Place("", root.start_mark.line + 1), problem)
        raise InvalidConfigurationError(source, [mistake])
    document.data = _mapping(root, (), document, ())
    return document


def _value(node: yaml.Node, path: KeyPath, document: Document, parents: tuple[int, ...]) -> Any:
    if id(node) in parents:
        document.mistakes.append(Mistake(document.place(path), "an alias that contains itself"))
        return None
    if node.tag not in _PLAIN_TAGS:
        problem = "YAML tags (words that begin with !) are not used here; put text into quotes"
        document.mistakes.append(Mistake(document.place(path), problem))
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document, parents)
    if isinstance(node, yaml.SequenceNode):
        inside = (*parents, id(node))
        items = []
        for position, item in enumerate(node.value):
            place = (*path, position)
            document.places[place] = Place(format_key(place), item.start_mark.line + 1)
            items.append(_value(item, place, document, inside))
        return items
    return _scalar(node)


def _mapping(
    node: yaml.MappingNode, path: KeyPath, document: Document, parents: tuple[int, ...]
) -> dict[str, Any]:
    inside = (*parents, id(node))
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            place = Place(format_key(path), line)
            document.mistakes.append(Mistake(place, "a key must be one word"))
            continue
        key = str(key_node.value)
        here = (*path, key)
        if key in values:
            first = document.places[here].line
            place = Place(format_key(here), line)
            document.mistakes.append(Mistake(place, f"written twice, first on line {first}"))
            continue
        document.places[here] = Place(format_key(here), line)
        values[key] = _value(value_node, here, document, inside)
    return values


def _scalar(node: yaml.Node) -> object:
    text = str(node.value)
    if getattr(node, "style", None):  # quoted or block text
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if len(text) < 24 and _FLOAT.fullmatch(text):
        return float(text)
    return text


def _problem(error: yaml.MarkedYAMLError, text: str) -> str:
    """PyYAML's reason without the words it quotes from the file, and what to do about it."""
    mark, begin = error.problem_mark, error.context_mark
    lines = [] if mark is None else text.splitlines()[mark.line : mark.line + 1]
    if any("\t" in line[: len(line) - len(line.lstrip())] for line in lines):
        return "the line is indented with a tab; use spaces"
    reason = ", ".join(part for part in (error.context, error.problem) if part)
    reason = re.sub(r"'(?!<[a-z ]+>')[^'\s]*\w\w[^']*'", "'…'", reason) or "cannot be parsed"
    if mark is not None and begin is not None and begin.line < mark.line:
        reason += f" (it begins on line {begin.line + 1})"
    advice = [hint for sign, hint in _ADVICE.items() if sign in reason]
    return "; ".join([reason, *advice])


def _refuse_deep_nesting(text: str, source: str) -> None:
    """Refuse what would exhaust the stack of PyYAML's C code, which ends the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_BaseLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            mark = event.start_mark
            place = Place("", None if mark is None else mark.line + 1)
            mistake = Mistake(place, f"nested more than {_DEEPEST} levels deep")
            raise InvalidConfigurationError(source, [mistake])
