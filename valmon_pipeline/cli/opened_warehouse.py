"""What is stored, for commands that need no node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from valmon_pipeline.deployment.databases import running_warehouse
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.pipeline import open_database
from valmon_pipeline.storage.warehouse import Warehouse


@contextmanager
def opened_warehouse(installation: Installation) -> Iterator[Warehouse]:
    """The warehouse of an installation; the embedded database is started if it does not run."""
    with running_warehouse(installation) as url:
        database = open_database(installation.settings, url)
        try:
            yield Warehouse(database)
        finally:
            database.close()
