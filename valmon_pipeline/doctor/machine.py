"""The machine: the home directory, space on its disk, ports, and the archive of answers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from valmon_pipeline.beacon.archive import ArchiveError
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.processes import answers
from valmon_pipeline.deployment.up_state import running_up
from valmon_pipeline.doctor.finding import Finding, good, problem, warning
from valmon_pipeline.pipeline import answer_archive

SUBJECT: Final = "machine"
UI_PORT: Final = 3000
LEAST_BYTES: Final = 2**30
COMFORTABLE_BYTES: Final = 10 * 2**30


def machine_findings(installation: Installation) -> Iterator[Finding]:
    """Everything about the machine."""
    yield home_finding(installation.home)
    yield disk_finding(installation.home)
    if running_up(installation) is None:
        yield port_finding("port of the Dagster UI", UI_PORT)
        yield port_finding("port of the metrics", installation.settings.metrics.port)
    yield from archive_findings(installation)


def home_finding(home: Path) -> Finding:
    """Files can be written under ``VALMON_HOME``."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=home, prefix="doctor-"):
            pass
    except OSError as error:
        return problem(
            SUBJECT,
            "home",
            f"{home} cannot be written: {error.strerror}",
            "give it to the user that runs valmon, or set VALMON_HOME to another directory",
        )
    return good(SUBJECT, "home", f"{home} can be written")


def disk_finding(
    home: Path, *, least: int = LEAST_BYTES, comfortable: int = COMFORTABLE_BYTES
) -> Finding:
    """There is space left where ``home`` is."""
    existing = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / 2**30:.1f} GiB are free in {home}"
    advice = "make room, or keep fewer days: retention_days"
    if free < least:
        return problem(SUBJECT, "disk", found, advice)
    if free < comfortable:
        return warning(SUBJECT, "disk", found, advice)
    return good(SUBJECT, "disk", found)


def port_finding(name: str, port: int) -> Finding:
    """Nothing listens at a port of the loopback interface that ``valmon up`` wants."""
    if answers(port):
        return warning(
            SUBJECT,
            name,
            f"port {port} is taken by another program",
            "`valmon up` will take another one and say which; proxies and Prometheus must know it",
        )
    return good(SUBJECT, name, f"port {port} is free")


def archive_findings(installation: Installation) -> Iterator[Finding]:
    """Answers can be written to the archive, if one is configured."""
    archive = answer_archive(installation.settings)
    if archive is None:
        return
    try:
        archive.write("doctor", b"", final=False)
        archive.discard("doctor")
    except ArchiveError as error:
        yield problem(
            SUBJECT, "archive", str(error), "check archive.url, its credentials and who owns it"
        )
    else:
        yield good(SUBJECT, "archive", f"{archive.name} can be written")
