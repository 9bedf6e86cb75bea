"""``valmon drill``: does anybody hear of it if something happens?"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from valmon_pipeline.cli.application import (
    ConfigOption,
    JsonOption,
    app,
    complain,
    mention,
    output,
    print_json,
    say,
    working_on,
)
from valmon_pipeline.deployment.drill import Arrived, DrillReport, Proof, run_drill
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline.notify.channels import Channel
from valmon_pipeline.notify.wiring import channels_of
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.embedded import EmbeddedPostgres

SCHEMA: Final = "drill"


@app.command()
def drill(
    channel: Annotated[
        list[str] | None,
        typer.Option(help="Tell this channel of the configuration, too; can be repeated."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a validator miss, a proposer skip, a cluster go dark and a slashing appear on a simulated
    chain, and show that each becomes a failed check, an alert and a message, and how soon.

    It has a database of its own, which is gone afterwards, and touches nothing of this home.
    """
    channels = _chosen(channel or [], config)
    with tempfile.TemporaryDirectory(prefix="valmon-drill-") as directory:
        server = EmbeddedPostgres(Path(directory))
        with working_on("Starting a database for the drill"):
            server.start()
        try:
            server.ensure_database("valmon")
            migrate.upgrade(server.url(), SCHEMA)
            mention("Playing the incidents …")
            report = run_drill(
                server.url(), SCHEMA, Path(directory), channels=channels, tell=mention
            )
        finally:
            server.stop()
    if as_json:
        print_json({"complete": report.is_complete, "report": report})
    else:
        print_report(report)
    if not report.is_complete:
        raise typer.Exit(1)


def _chosen(names: list[str], config: Path | None) -> list[Channel]:
    if not names:
        return []
    known = {one.name: one for one in channels_of(Installation.load(config).settings)}
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"there is no channel {name}; there are: {', '.join(known) or 'none'}"
            )
    return [known[name] for name in names]


def print_report(report: DrillReport) -> None:
    """Show when what arrived, by incident."""
    table = Table("incident", "slot", "failed check", "alert", "message", "over", box=SIMPLE_HEAD)
    for proof in report.proofs:
        ends = _arrived(proof, proof.end, report) if proof.expected.ends else "–"
        table.add_row(
            proof.expected.incident,
            str(proof.expected.slot),
            *(_arrived(proof, one, report) for one in (proof.check, proof.row, proof.message)),
            ends,
        )
    output.print(table)
    say(
        f"{len(report.messages)} messages in {report.seconds:.1f} s. Slots are of "
        f"{report.slot_seconds:g} s; a row of misses counts from its third epoch on, and an epoch "
        "is stored when the one after it is over."
    )
    if report.is_complete:
        say("Everything arrived.", style="green")
    else:
        complain("Something did not arrive.")


def _arrived(proof: Proof, arrived: Arrived | None, report: DrillReport) -> str:
    if arrived is None:
        return "missing"
    slots = arrived.slot - proof.expected.slot
    return f"+{slots} slots, {arrived.seconds:.2f} s"
