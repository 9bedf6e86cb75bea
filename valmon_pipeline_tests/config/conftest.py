"""Writing a configuration and loading it, or getting the mistakes in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from valmon_pipeline.config import InvalidConfigurationError, Settings, load_settings

Load = Callable[..., Settings]
Mistakes = Callable[..., dict[str, str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load settings from YAML text, with environment variables as keywords."""

    def load_text(text: str = "", **environ: str) -> Settings:
        path = tmp_path / "valmon.yaml"
        path.write_text(dedent(text), encoding="utf-8")
        return load_settings(path, {"VALMON_HOME": str(tmp_path), **environ})

    return load_text


@pytest.fixture
def mistakes(load: Load) -> Mistakes:
    """Return the mistakes in YAML text: place (``line 3 key`` or variable) to problem."""

    def mistakes_in(text: str = "", **environ: str) -> dict[str, str]:
        with pytest.raises(InvalidConfigurationError) as caught:
            load(text, **environ)
        found: dict[str, str] = {}
        for mistake in caught.value.mistakes:
            place = mistake.place
            where = place.variable or f"line {place.line} {place.key}".strip()
            found[where] = (
                f"{found[where]}; {mistake.problem}" if where in found else mistake.problem
            )
        return found

    return mistakes_in
