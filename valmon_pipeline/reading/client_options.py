"""Options of consensus clients that give a fact which would be NULL without them.

Read from the clients' own source and release notes. Only ``--serveHistoricalState`` was seen at
work: Lodestar 1.39.1 served old registries and whole states with it. ``docs/nodes.md`` has the
versions and dates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from valmon_pipeline.beacon.consensus_client import ConsensusClient
from valmon_pipeline.epoch.facts import Fact
from valmon_pipeline.reading.source_survey import HISTORY, FactReport, Moment, Survey

_OF_STATES: Final = frozenset(
    {
        Fact.REGISTRY_AT_START,
        Fact.FINALITY,
        Fact.SYNC_COMMITTEE,
        Fact.COMMITTEES,
        Fact.PROPOSERS,
        Fact.ATTESTATION_REWARDS,
        Fact.PENDING_QUEUES,
        Fact.NETWORK_STATE,
    }
)
_OF_ARCHIVES: Final = _OF_STATES | {Fact.BLOCK_REWARDS, Fact.SYNC_REWARDS}
_BLOCKS: Final = frozenset({Fact.BLOCKS})
_WITHDRAWALS: Final = frozenset({Fact.WITHDRAWALS})
_PAST: Final = frozenset({Moment.OUTAGE, *HISTORY})
_HISTORY: Final = frozenset(HISTORY)
_ALWAYS: Final = frozenset(Moment)


@dataclass(frozen=True, slots=True)
class ClientOption:
    """An option, or a version, of ``client`` that gives ``facts`` at ``moments``.

    ``effect`` says what it does, and from when on.
    """

    client: ConsensusClient
    option: str
    effect: str
    facts: frozenset[Fact]
    moments: frozenset[Moment]


CLIENT_OPTIONS: Final = (
    ClientOption(
        ConsensusClient.LIGHTHOUSE,
        "--archive",
        "keeps all states; --reconstruct-historic-states before 2026. Sync anew with it: it does "
        "not bring back what is pruned",
        _OF_ARCHIVES,
        _PAST,
    ),
    ClientOption(
        ConsensusClient.LIGHTHOUSE,
        "--genesis-backfill",
        "gets blocks from before its checkpoint",
        _BLOCKS,
        _HISTORY,
    ),
    ClientOption(
        ConsensusClient.LIGHTHOUSE,
        "--prune-payloads=false",
        "keeps whole blocks; without it, an execution client that still has them is needed",
        _WITHDRAWALS,
        _ALWAYS,
    ),
    ClientOption(
        ConsensusClient.PRYSM,
        "--slots-per-archive-point=32",
        "saves more states from then on, so that old ones are replayed in seconds; or, "
        "experimental, --enable-state-diff",
        _OF_ARCHIVES,
        _PAST,
    ),
    ClientOption(
        ConsensusClient.PRYSM,
        "--enable-backfill",
        "gets blocks from before its checkpoint, but no states",
        _BLOCKS,
        _HISTORY,
    ),
    ClientOption(
        ConsensusClient.PRYSM,
        "--save-full-execution-payloads",
        "keeps whole blocks, in a new database; without it, an execution client that still has "
        "them is needed",
        _WITHDRAWALS,
        _ALWAYS,
    ),
    ClientOption(
        ConsensusClient.TEKU,
        "--data-storage-mode=archive",
        "keeps states and blocks from then on. --data-storage-archive-frequency (2048 slots) says "
        "how many blocks are replayed; --reconstruct-historic-states makes older states",
        _OF_ARCHIVES,
        _PAST,
    ),
    ClientOption(
        ConsensusClient.TEKU,
        "--data-storage-mode=archive",
        "keeps blocks for more than five months",
        _BLOCKS | _WITHDRAWALS,
        _HISTORY,
    ),
    ClientOption(
        ConsensusClient.NIMBUS,
        "v26.8.0 or newer",
        "has attestation rewards; older versions have no such route",
        frozenset({Fact.ATTESTATION_REWARDS}),
        _ALWAYS,
    ),
    ClientOption(
        ConsensusClient.NIMBUS,
        "a release since May 2025",
        "lists pending deposits and consolidations",
        frozenset({Fact.PENDING_QUEUES}),
        _ALWAYS,
    ),
    ClientOption(
        ConsensusClient.NIMBUS,
        "--history=archive",
        "keeps more than five months; trustedNodeSync --backfill --reindex gets what lies before "
        "its checkpoint",
        _OF_ARCHIVES | _BLOCKS | _WITHDRAWALS,
        _HISTORY,
    ),
    ClientOption(
        ConsensusClient.LODESTAR,
        "--serveHistoricalState --chain.archiveStateEpochFrequency=1",
        "serves old registries and whole states, from which valmon computes committees and "
        "attestation rewards; it never gives the rewards of old blocks",
        _OF_STATES,
        _PAST,
    ),
    ClientOption(
        ConsensusClient.LODESTAR,
        "--chain.maxBlockStates=256",
        "keeps the states of more blocks in memory; valmon may then ask later (a hidden option, "
        "what it costs was not measured)",
        frozenset({Fact.SYNC_REWARDS, Fact.BLOCK_REWARDS, Fact.ATTESTATION_REWARDS}),
        frozenset({Moment.NOW}),
    ),
    ClientOption(
        ConsensusClient.GRANDINE,
        "--archive-storage",
        "keeps more than five months; --back-sync gets what lies before its checkpoint",
        _OF_ARCHIVES | _BLOCKS | _WITHDRAWALS,
        _HISTORY,
    ),
    ClientOption(
        ConsensusClient.GRANDINE,
        "no --prune-storage",
        "keeps five months",
        _OF_ARCHIVES,
        frozenset({Moment.OUTAGE}),
    ),
)
"""The first one that fits is advised."""


def option_for(client: ConsensusClient, fact: Fact, moment: Moment) -> ClientOption | None:
    """Return the option of ``client`` that gives ``fact`` at ``moment``; None if there is none."""
    return next(
        (
            one
            for one in CLIENT_OPTIONS
            if one.client is client and fact in one.facts and moment in one.moments
        ),
        None,
    )


def advice_for(survey: Survey, report: FactReport) -> str:
    """Return what would give a fact that is missing, as a sentence without a full stop."""
    found = option_for(survey.client, report.fact, report.moment)
    if found is not None:
        return f"{survey.client.title} {found.option}: {found.effect}"
    if survey.client is ConsensusClient.UNKNOWN:
        return "the node does not say which client it is; docs/nodes.md has the options of six"
    when = " at the head" if report.moment is Moment.NOW else ""
    return f"no option of {survey.client.title} gives it{when}; another client's archive node may"
