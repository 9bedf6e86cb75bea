"""Homes to run commands in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from valmon_pipeline.cli import main
from valmon_pipeline_tests.cli.home import Finished, Home
from valmon_pipeline_tests.conftest import temporary_home

InProcess = Callable[..., Finished]


@pytest.fixture
def home() -> Iterator[Home]:
    """A home in which nothing has happened yet."""
    with temporary_home() as path:
        home = Home(path)
        yield home
        if home.processes():
            home.run("down")


@pytest.fixture
def valmon(home: Home, valmon_in: Callable[[Home], InProcess]) -> InProcess:
    """Run a command that starts nothing, in this process: ten times faster than another one."""
    return valmon_in(home)


@pytest.fixture
def valmon_in(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[Home], InProcess]:
    """Run commands in this process, of any home."""

    def run(home: Home, *arguments: str, **variables: str) -> Finished:
        environment = {**home.environment, **variables}
        for name in environment:
            monkeypatch.setenv(name, environment[name])
        monkeypatch.setattr(sys, "argv", ["valmon", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        code = ended.value.code
        return Finished(code if isinstance(code, int) else 0, out, err)

    return lambda home: partial(run, home)
