"""YAML becomes plain data with lines, by the rules of YAML 1.2."""

from __future__ import annotations

import re
import string
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.config.mistakes import InvalidConfigurationError
from valmon_pipeline.config.yaml_file import parse_yaml

KEY = "0x93247f2209abcacf57b75a51dafae777" + "f9dd38bc7053d1af526f220a7489a6d3" + "a2753e5f" * 4


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (KEY, KEY),
        (KEY.removeprefix("0x"), KEY.removeprefix("0x")),
        ("9" * 96, "9" * 96),
        ("1" * 40 + "e" + "1" * 55, "1" * 40 + "e" + "1" * 55),
        ("0x10", "0x10"),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("010", 10),
        ("1_000", "1_000"),
        ("2026-11-21", "2026-11-21"),
        ("17", 17),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("~", None),
        ("'17'", "17"),
        ("''", ""),
        ("!!str text", "text"),
    ],
)
def test_scalars(written: str, value: object) -> None:
    parsed = parse_yaml(f"a: {written}", "file").data["a"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_places_are_lines_of_keys_and_items() -> None:
    document = parse_yaml(
        "a: 1\n\nb:\n  - x\n  # comment\n  - c: 1\n    d: [2,\n      3]\n", "file"
    )
    assert {key: place.line for key, place in document.places.items()} == {
        ("a",): 1,
        ("b",): 3,
        ("b", 0): 4,
        ("b", 1): 6,
        ("b", 1, "c"): 6,
        ("b", 1, "d"): 7,
        ("b", 1, "d", 0): 7,
        ("b", 1, "d", 1): 8,
    }
    assert document.places["b", 1, "d", 1].key == "b[1].d[1]"
    assert document.place(("b", 1, "d", 1, "deeper")).line == 8


def test_a_key_written_twice_is_a_mistake() -> None:
    document = parse_yaml("a: 1\nb: {c: 1, c: 2}\na: 2\n", "file")
    assert document.data == {"a": 1, "b": {"c": 1}}
    assert [(mistake.place.key, mistake.problem) for mistake in document.mistakes] == [
        ("b.c", "written twice, first on line 2"),
        ("a", "written twice, first on line 1"),
    ]


def test_aliases_are_followed_but_not_round_in_circles() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x", "file").data == {"a": [1, 2], "b": [1, 2]}
    assert parse_yaml("a: &x [*x]", "file").mistakes[0].problem == "an alias that contains itself"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1, 2\n", "line 3\n    not valid YAML: .* did not find expected .* line 2"),
        ("a: 1\nb: 'x\n", "line 3\n    not valid YAML: .* unexpected end"),
        ("a: 1\n b: 2", "line 2\n    not valid YAML: .* check the indentation"),
        ("a:\n\tb: 1", "line 2\n    not valid YAML: the line is indented with a tab"),
        ("a: @b", "line 1\n    not valid YAML: .* in quotes"),
        ("a: 1\n---\nb: 1", "line 2\n    not valid YAML: .* another document"),
        ("a: 1\nb: \x01", "line 2\n    a character that YAML does not allow"),
        ("just text", "line 1\n    expected lines of the form `key: value`"),
        ("# list\n- 1", "line 2\n    expected lines of the form `key: value`"),
        ("a: " + "[" * 100_000, "line 1\n    nested more than 20 levels deep"),
    ],
)
def test_what_is_not_yaml_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=f"(?s)file: 1 mistake .*{message}"):
        parse_yaml(text, "file")


@given(st.text(alphabet=string.printable, max_size=80))
def test_any_text_is_read_or_refused_as_a_configuration(text: str) -> None:
    try:
        document = parse_yaml(text, "file")
    except InvalidConfigurationError:
        return
    assert isinstance(document.data, dict)


# YAML 1.2.2, 10.3.2. PyYAML writes by the rules of 1.1 and leaves 0E0 or -.5 unquoted: numbers
# for us, text for it. What it writes is only the same for both where the two versions agree.
_FLOAT_IN_1_2 = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def _means_the_same_in_both_versions(text: str) -> bool:
    return _FLOAT_IN_1_2.fullmatch(text) is None or not isinstance(yaml.safe_load(text), str)


_TEXT = st.text(max_size=8).filter(_means_the_same_in_both_versions)
_SCALARS = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | _TEXT
_KEYS = st.text(alphabet=string.ascii_lowercase, min_size=1, max_size=6)
_TREES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(_KEYS, values, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_KEYS, _TREES, max_size=5))
def test_what_pyyaml_writes_is_read_back(data: dict[str, Any]) -> None:
    document = parse_yaml(yaml.safe_dump(data), "file")
    assert document.data == data
    assert not document.mistakes


@pytest.mark.parametrize("text", ["0E0", "1e3", ".5E2", "-1e-3", "-.5"])
def test_a_number_of_yaml_1_2_that_is_text_in_1_1_is_a_number(text: str) -> None:
    assert yaml.safe_load(text) == text
    assert parse_yaml(f"a: {text}", "file").data == {"a": float(text)}
    assert parse_yaml(f"a: '{text}'", "file").data == {"a": text}
