"""Locks that tell who lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from valmon_pipeline.deployment import file_lock


def test_a_lock_is_held_until_the_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "there" / "lock"
    assert not file_lock.is_held(path)
    with file_lock.opened(path) as handle:
        assert not file_lock.is_held(path)
        assert file_lock.try_hold(handle)
        assert file_lock.is_held(path)
        with file_lock.opened(path) as other:
            assert not file_lock.try_hold(other)
            assert not file_lock.try_hold(other, shared=True)
    assert not file_lock.is_held(path)


def test_many_share_a_lock_and_the_last_one_gets_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with file_lock.opened(path) as first, file_lock.opened(path) as second:
        file_lock.hold(first, shared=True)
        file_lock.hold(second, shared=True)
        file_lock.release(first)
        assert not file_lock.try_hold(first)
        file_lock.release(second)
        assert file_lock.try_hold(second)


def test_a_child_that_inherits_the_file_holds_the_lock_as_long_as_it_lives(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with file_lock.opened(path) as log:
        assert file_lock.try_hold(log)
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, stdout=log)
    assert file_lock.is_held(path)
    child.communicate(b"\n")
    assert not file_lock.is_held(path)
