"""Where facts came from and which are missing, as ``status`` and ``validator`` print it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Column, Table

from valmon_pipeline.cli.application import output, print_json, say
from valmon_pipeline.storage.queries import (
    Incompleteness,
    Lack,
    MissingFact,
    StoredSource,
    epoch_sources,
)
from valmon_pipeline.storage.warehouse import Warehouse

_MISSING: Final = "–"
_STATES: Final = ("registry_at_start", "registry_at_end")
PERFORMANCE_FACTS: Final = frozenset(
    {
        *_STATES,
        *("committees", "sync_committee", "proposers", "finality"),
        *("attestation_rewards", "block_rewards", "sync_rewards"),
    }
)
"""The facts that duties, outcomes, rewards and scores of a validator rest on."""
LEDGER_FACTS: Final = frozenset(
    {
        *_STATES,
        *("previous_attestation_rewards", "sync_committee", "sync_rewards", "block_rewards"),
        *("withdrawals", "pending_queues", "slashed_balance"),
    }
)
"""The facts that the ledger rests on."""


def show_sources(warehouse: Warehouse, epoch: int, *, as_json: bool) -> None:
    """Print where each fact of an epoch came from.

    Raises:
        StorageError: the database is away or refuses.
    """
    stored = warehouse.read("network_epochs", epochs=[epoch])
    sources = epoch_sources(warehouse.database, epoch)
    if as_json:
        print_json(
            {
                "epoch": epoch,
                "stored": not stored.empty,
                "finalized": None if stored.empty else stored["finalized"].iloc[0],
                "node": None if stored.empty else stored["node"].iloc[0],
                "missing_facts": None if stored.empty else stored["missing_facts"].iloc[0],
                "sources": sources,
            }
        )
        return
    if stored.empty:
        say(f"epoch {epoch} is not stored: `valmon backfill {epoch}` reads it")
        return
    say(_headline(epoch, stored, sources))
    if sources:
        output.print(_sources_table(sources))
    else:
        say("its sources were not recorded when it was stored")


def _headline(epoch: int, stored: pd.DataFrame, sources: Sequence[StoredSource]) -> str:
    final = "final" if stored["finalized"].iloc[0] else "provisional"
    missing = int(stored["missing_facts"].iloc[0])
    lack = f"{missing} of {len(sources)} facts are missing" if missing else "complete"
    return f"epoch {epoch}: {final}, read from {stored['node'].iloc[0]}, {lack}"


def _sources_table(sources: Sequence[StoredSource]) -> Table:
    """A row per fact, those that are missing first."""
    named_nodes = len({source.node for source in sources if source.node}) > 1
    table = Table(
        Column("fact", no_wrap=True),
        Column("source", overflow="fold"),
        *((Column("node", overflow="fold"),) if named_nodes else ()),
        Column("deviates", justify="right"),
        Column("reason", overflow="fold"),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption="deviates: numbers of the node that differ from the specification, of those "
        "compared, and by how many gwei at most; what is stored is the specification's",
        caption_justify="left",
    )
    for source in sorted(sources, key=lambda one: one.source is not None):
        table.add_row(
            source.fact,
            "[red]not known[/]" if source.source is None else escape(source.source),
            *((escape(source.node or _MISSING),) if named_nodes else ()),
            _deviations(source),
            escape(source.reason or ""),
        )
    return table


def _deviations(source: StoredSource) -> str:
    if source.compared is None:
        return _MISSING
    if not source.deviating:
        return f"0/{source.compared}"
    largest = source.largest_deviation
    size = "" if largest is None else f", {largest:,} gwei"
    return f"{source.deviating}/{source.compared}{size}"


def incomplete_lines(incomplete: Incompleteness) -> Iterator[str]:
    """The lines of ``valmon status`` about epochs that lack facts."""
    if not incomplete.epochs:
        yield "missing   no facts"
        return
    yield (
        "missing   facts in "
        f"{_epochs(incomplete.epochs, incomplete.oldest_epoch, incomplete.newest_epoch)}; "
        f"`valmon status --epoch {incomplete.newest_epoch}` shows the newest"
    )
    for fact in incomplete.facts:
        yield f"          {_of_fact(fact)}"


def _of_fact(fact: MissingFact) -> str:
    rare = fact.epochs_with_reason < fact.epochs
    often = f" ({fact.epochs_with_reason} of them)" if rare else ""
    return (
        f"{fact.fact}: {_epochs(fact.epochs, fact.oldest_epoch, fact.newest_epoch)}; "
        f"{fact.reason}{often}"
    )


def _epochs(count: int, oldest: int | None, newest: int | None) -> str:
    return f"epoch {newest}" if count == 1 else f"{count} epochs ({oldest} to {newest})"


def missing_line(lacks: Sequence[Lack]) -> str:
    """One line about what is missing in the epochs of a table, and why. Each fact has the reason
    that most epochs have."""
    epochs = {lack.epoch for lack in lacks}
    by_fact: dict[str, Counter[str]] = {}
    for lack in lacks:
        by_fact.setdefault(lack.fact, Counter())[lack.reason] += 1
    told = "; ".join(
        f"{fact} in {reasons.total()} ({reasons.most_common(1)[0][0]})"
        for fact, reasons in sorted(by_fact.items(), key=lambda one: (-one[1].total(), one[0]))
    )
    newest = max(epochs)
    return (
        f"– : not known in {len(epochs)} of these epochs, the newest {newest}: {told}. "
        f"`valmon status --epoch {newest}` shows all its sources"
    )
