"""Installations as tests need them."""

from __future__ import annotations

from pathlib import Path

from valmon_pipeline.deployment.installation import Installation


def installation(home: Path, **variables: str) -> Installation:
    """What is configured by nothing but these variables; the demo if there are none."""
    return Installation.load(environ={"VALMON_HOME": str(home), **variables})
