"""Commands that set up and look after an installation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from valmon_pipeline.cli.application import (
    HIGHEST_PORT,
    ConfigOption,
    JsonOption,
    app,
    load,
    print_json,
    say,
    working_on,
)
from valmon_pipeline.deployment.databases import prepare_configured_database, running_databases
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.listening import LOOPBACK, address_of, listening_socket
from valmon_pipeline.deployment.supervisor import take_down
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.clients.catalogue import CLIENTS
from valmon_pipeline.devnet.node_server import DEFAULT_PORT, NodeServer, ServedNode
from valmon_pipeline.devnet.replay_node import ReplayNode
from valmon_pipeline.errors import StorageError
from valmon_pipeline.notify.wiring import sender_of
from valmon_pipeline.pipeline import open_database
from valmon_pipeline.storage import migrate as migrations
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.reader_role import make_reader

READER_PASSWORD: Final = "VALMON_READER_PASSWORD"  # noqa: S105 - the name of a variable

DevnetPortOption = Annotated[
    int,
    typer.Option(
        min=0,
        max=HIGHEST_PORT,
        help="Port on the loopback interface; 0: any free one, which is told.",
    ),
]

config_app = typer.Typer(no_args_is_help=True, help="The configuration.")
database_app = typer.Typer(no_args_is_help=True, help="The database.")
devnet_app = typer.Typer(
    no_args_is_help=True, help="Beacon nodes for tries and tests: recorded or simulated."
)
app.add_typer(config_app, name="config")
app.add_typer(database_app, name="database")
app.add_typer(devnet_app, name="devnet")


@app.command()
def migrate(
    config: ConfigOption = None,
    reader: Annotated[
        bool,
        typer.Option(
            "--reader",
            help="Also make the role valmon_reader, which may read this network's tables, with the "
            f"password in {READER_PASSWORD}.",
        ),
    ] = False,
) -> None:
    """Bring the database to the schema of this version (safe to repeat)."""
    installation = load(config)
    network = installation.settings.network
    with working_on("Migrating the database"):
        if installation.settings.database.url is not None:
            prepare_configured_database(installation)
        with running_databases(installation) as urls:
            if reader:
                _make_reader(installation, urls.tables)
    say(f"schema {network} is at revision {migrations.newest()}")


def _make_reader(installation: Installation, url: str) -> None:
    database = open_database(installation.settings, url)
    try:
        make_reader(database, password=os.environ.get(READER_PASSWORD))
    finally:
        database.close()


@app.command()
def down(config: ConfigOption = None) -> None:
    """Stop a running `valmon up` and the embedded database of this home."""
    installation = load(config)
    with working_on("Stopping"):
        was_up = take_down(installation)
        server = EmbeddedPostgres(installation.home)
        was_running = server.is_running()
        server.stop()
    say("stopped" if was_up or was_running else f"nothing is running for {installation.home}")


@config_app.command("check")
def config_check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Read the configuration and say what holds; every mistake is listed with its line."""
    installation = Installation.load(config)
    if as_json:
        print_json(installation.settings.model_dump(mode="json"))
        return
    settings = installation.settings
    watch = settings.watch_list
    watched = (
        "everybody"
        if watch.everyone
        else f"{len(watch.indices)} by index, {len(watch.pubkeys)} by public key"
    )
    lines = {
        "file": installation.config_file or "none: defaults and environment",
        "network": settings.network,
        "beacon nodes": ", ".join(node.shown for node in settings.nodes)
        or "none: the recorded devnet is shown",
        "watched": f"{watched}; {len(watch.labels)} with labels",
        "home": installation.home,
        "database": settings.database.url or "embedded, in the home directory",
        "channels": ", ".join(channel.name for channel in settings.alerts.channels)
        or "none: nobody is told of alerts",
    }
    sender_of(settings)
    for name, value in lines.items():
        say(f"{name:13} {value}")
    if not installation.demo:
        installation.require_node()
    say("The configuration is right.", style="green")


@database_app.command("url")
def database_url(
    config: ConfigOption = None,
    show_password: Annotated[
        bool, typer.Option("--show-password", help="Do not hide the password.")
    ] = False,
) -> None:
    """Print the database address in use, e.g. for psql."""
    installation = load(config)
    url = installation.settings.database.url
    if url is not None:
        say(url.reveal() if show_password else str(url))
        return
    server = EmbeddedPostgres(installation.home)
    if not server.is_running():
        raise StorageError(
            f"the embedded PostgreSQL of {installation.home} is not running: "
            "start it with `valmon up`"
        )
    say(server.url())


@devnet_app.command("replay")
def devnet_replay(
    recording: Annotated[
        Path, typer.Argument(help="A recording of beacon node answers (.jsonl.zst).")
    ] = RECORDING_PATH,
    port: DevnetPortOption = DEFAULT_PORT,
    live: Annotated[
        bool, typer.Option("--live", help="Shift the recorded clock so that the chain runs now.")
    ] = False,
    start_slot: Annotated[int | None, typer.Option(help="Slot that is now, with --live.")] = None,
    speed: Annotated[float, typer.Option(help="How much faster than recorded, with --live.")] = 1.0,
    client: Annotated[
        str | None,
        typer.Option(
            help="Answer only what this client would at the chain's head, with its errors: "
            f"{', '.join(CLIENTS)}. Without it, everything recorded is answered."
        ),
    ] = None,
    archive: Annotated[
        bool, typer.Option("--archive", help="The client keeps old states, with --client.")
    ] = False,
    execution_layer: Annotated[
        bool,
        typer.Option(help="The client can rebuild payloads, with --client lighthouse or prysm."),
    ] = True,
) -> None:
    """Serve a recording like a beacon node, until Ctrl-C."""
    node = ReplayNode(
        recording,
        live=live,
        start_slot=start_slot,
        speed=speed,
        client=client,
        archive=archive,
        execution_layer=execution_layer,
    )
    like = f" like {client}" if client is not None else ""
    _serve(node, port, f"replaying {recording.name}{like}")


@devnet_app.command("simulate")
def devnet_simulate(
    validators: Annotated[int, typer.Option(help="How many validators start the chain.")] = 128,
    seed: Annotated[int, typer.Option(help="Equal seeds make equal chains.")] = 0,
    preset: Annotated[str, typer.Option(help="minimal, mainnet or gnosis.")] = "minimal",
    script: Annotated[
        Path | None, typer.Option(help="Incidents in YAML; see docs/devnet.md.")
    ] = None,
    port: DevnetPortOption = DEFAULT_PORT,
    start_epoch: Annotated[
        int, typer.Option(help="Epoch that begins now; those before have happened.")
    ] = 8,
    slot_ms: Annotated[
        int | None, typer.Option(min=1, help="Length of a slot, to let the chain run faster.")
    ] = None,
    electra_epoch: Annotated[int, typer.Option(help="First epoch of Electra.")] = 0,
    fulu_epoch: Annotated[int | None, typer.Option(help="First epoch of Fulu, if any.")] = None,
    miss_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of all votes that get lost.")
    ] = 0.0,
    history_epochs: Annotated[
        int | None, typer.Option(help="Epochs to remember; all of them without.")
    ] = None,
) -> None:
    """Serve a simulated chain like a beacon node, until Ctrl-C."""
    # Here, because no other command needs it, and importing it takes all of them longer.
    from valmon_pipeline.devnet.simulator.command import simulate

    with working_on(f"Simulating the first {start_epoch} epochs"):
        node = simulate(
            validators,
            seed=seed,
            preset=preset,
            script=script,
            start_epoch=start_epoch,
            slot_duration_ms=slot_ms,
            electra_epoch=electra_epoch,
            fulu_epoch=fulu_epoch,
            miss_rate=miss_rate,
            history_epochs=history_epochs,
        )
    _serve(node, port, f"simulating {validators} validators")


def _serve(node: ServedNode, port: int, doing: str) -> None:
    """Serve a node until Ctrl-C; its address is told once it is certain."""
    with listening_socket(LOOPBACK, port) as listening:
        say(f"{doing} at {address_of(listening)} (Ctrl-C stops it)")
        NodeServer(node, LOOPBACK, port).run(sockets=[listening])
