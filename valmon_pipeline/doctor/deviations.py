"""Where the numbers of beacon nodes differ from the specification: a finding per node and fact.

No alert is about it: what is stored is what the specification and the balances prove.
"""

from __future__ import annotations

from collections.abc import Iterator

from valmon_pipeline.config import Settings
from valmon_pipeline.doctor.finding import Finding, warning
from valmon_pipeline.errors import StorageError
from valmon_pipeline.pipeline import configured_database_url, open_database
from valmon_pipeline.storage.queries import NodeDeviation, node_deviations


def deviation_findings(settings: Settings) -> Iterator[Finding]:
    """A warning per node and fact; nothing if the database does not run or holds no deviation."""
    for deviation in stored_deviations(settings):
        yield warning(
            f"node {deviation.node}",
            "deviations",
            deviation_sentence(deviation),
            "nothing to do in valmon, which stores the right values; update the node, or report it "
            "to the developers of its client",
        )


def stored_deviations(settings: Settings) -> list[NodeDeviation]:
    """The deviations found in all stored epochs; none if the database does not run."""
    try:
        database = open_database(settings, configured_database_url(settings))
        try:
            return node_deviations(database)
        finally:
            database.close()
    except StorageError:
        # The findings about the database say what is wrong with it.
        return []


def deviation_sentence(deviation: NodeDeviation) -> str:
    """E.g. ``its attestation rewards are off by up to 2 gwei: 312 of 512 numbers in 4 epochs (1200
    to 1203) differ from the specification``."""
    epochs = (
        f"epoch {deviation.first_epoch}"
        if deviation.epochs == 1
        else f"{deviation.epochs} epochs ({deviation.first_epoch} to {deviation.last_epoch})"
    )
    return (
        f"its {deviation.fact.replace('_', ' ')} are off by up to {deviation.largest_gwei:,} gwei: "
        f"{deviation.deviating:,} of {deviation.compared:,} numbers in {epochs} differ from the "
        "specification"
    )
