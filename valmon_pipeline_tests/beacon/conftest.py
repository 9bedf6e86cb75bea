"""Fixtures for tests that talk to a node over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from valmon_pipeline_tests.beacon.scripted_node import ScriptedNode, scripted_node


@pytest.fixture
def node() -> Iterator[ScriptedNode]:
    with scripted_node() as node:
        yield node
