"""The configuration's file is edited while valmon runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from valmon_pipeline.config import CurrentWatchList, load_settings
from valmon_pipeline.errors import ConfigurationError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "valmon.yaml"
    file.write_text("validators: [1]\n")
    return file


def current(home: Path) -> CurrentWatchList:
    environ = {"VALMON_HOME": str(home)}
    return CurrentWatchList(load_settings(None, environ).watch_list, None, environ)


def test_what_is_added_is_there_at_the_next_call(file: Path) -> None:
    watch_list = current(file.parent)
    before = watch_list()
    assert before.indices == (1,)
    assert watch_list() is before
    file.write_text("validators: [1, {index: 2, labels: [operator:a]}]\n")
    after = watch_list()
    assert (after.indices, after.labels) == ((1, 2), {2: {"operator": "a"}})
    assert after.fingerprint != before.fingerprint


def test_a_file_that_is_replaced_by_one_of_the_same_size_is_read(file: Path) -> None:
    watch_list = current(file.parent)
    watch_list()
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    other = file.with_suffix(".new")
    other.write_text("validators: [2]\n")
    os.utime(other, ns=times)
    other.replace(file)
    assert watch_list().indices == (2,)


def test_an_edit_before_the_first_call_is_seen(file: Path) -> None:
    watch_list = current(file.parent)
    file.write_text("validators: [3]\n")
    assert watch_list().indices == (3,)


def test_a_file_that_was_not_there_at_the_start_is_found(tmp_path: Path) -> None:
    watch_list = current(tmp_path)
    assert watch_list().is_empty
    (tmp_path / "valmon.yaml").write_text("validators: [5]\n")
    assert watch_list().indices == (5,)


def test_mistakes_are_told_at_every_call_until_they_are_corrected(file: Path) -> None:
    watch_list = current(file.parent)
    watch_list()
    file.write_text("validators: [1, x]\n")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"line 1: validators\[1\]"):
            watch_list()
    file.write_text("validators: [1, 4]\n")
    assert watch_list().indices == (1, 4)
