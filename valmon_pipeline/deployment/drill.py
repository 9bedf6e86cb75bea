"""The fire drill: incidents on a simulated chain, and whether anybody is told of them.

Everything between the node and the channel is what runs in earnest: the node's HTTP API, the live
service, epochs with their standings, rules, alerts, the outbox and Apprise. Dagster's scheduling is
left out: what a tick of a sensor would do is done at every slot of the epoch in which something can
be seen at the head, and at the start of every other one. Time is the chain's, which goes on as soon
as that is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from valmon_pipeline.alerting.rules import RULES
from valmon_pipeline.alerting.templates import Templates
from valmon_pipeline.assets.alert_checks import alert_check_events
from valmon_pipeline.assets.alerts import Alerting, AlertsOutcome
from valmon_pipeline.assets.label_history import merge_labels
from valmon_pipeline.assets.live import LiveFollower
from valmon_pipeline.assets.loading import load_epochs
from valmon_pipeline.assets.registry import label_rows, read_watched
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.assets.standings import make_due_standings
from valmon_pipeline.automation.alert_sensor import look_for_alerts
from valmon_pipeline.automation.catch_up import newest_closed_epoch
from valmon_pipeline.config import Settings
from valmon_pipeline.deployment.webhook import ReceivedMessage, Webhook, local_webhook
from valmon_pipeline.devnet.simulator import SimulatedNode, Simulation, config, simulated_node
from valmon_pipeline.devnet.simulator.incidents import (
    Miss,
    Offline,
    ProposerSlashing,
    SkippedSlot,
)
from valmon_pipeline.errors import PartitionsFailedError
from valmon_pipeline.notify.channels import Channel
from valmon_pipeline.notify.notifier import Notifier
from valmon_pipeline.notify.sender import Sender, Timing
from valmon_pipeline.notify.wiring import send_to
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline.storage.queries import list_alerts

VALIDATORS: Final = 64
MISSING: Final = 7
CLUSTER: Final = range(40, 52)
"""Less than a third of everybody: the chain goes on to finalize."""
SLASHED: Final = 9
FIRST_EPOCH: Final = 2
BAD_EPOCHS: Final = range(4, 7)
"""Three epochs in a row: what it takes to page."""
EVENT_EPOCH: Final = 5
LAST_EPOCH: Final = 10
"""The head's epoch at the end: two good epochs are closed by then."""

POLLING_INTERVAL_SLOTS: Final = 4
"""Slots between two snapshots of the watched, which show slashings."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Expected:
    """What is to be told of an incident that happened in ``slot``."""

    incident: str
    slot: int
    kind: str
    subject: str
    ends: bool

    @property
    def title(self) -> str:
        """How the titles of messages about it end."""
        return f"{RULES[self.kind].title} – {self.subject}"


@dataclass(frozen=True, slots=True)
class Arrived:
    """Something that arrived ``seconds`` after the chain had reached ``slot``."""

    slot: int
    seconds: float


@dataclass(slots=True)
class Proof:
    """What arrived of what was expected; None: it did not."""

    expected: Expected
    check: Arrived | None = None
    row: Arrived | None = None
    message: Arrived | None = None
    end: Arrived | None = None

    @property
    def is_complete(self) -> bool:
        """Whether check, row, message and, where there is to be one, the second message arrived."""
        parts = [self.check, self.row, self.message, *([self.end] if self.expected.ends else [])]
        return all(part is not None for part in parts)


@dataclass(frozen=True, slots=True)
class DrillReport:
    """Proofs by incident, the messages that arrived, and how long it took."""

    proofs: Sequence[Proof]
    messages: Sequence[ReceivedMessage]
    slot_seconds: float
    seconds: float

    @property
    def is_complete(self) -> bool:
        """Whether everything arrived."""
        return all(proof.is_complete for proof in self.proofs)


def run_drill(
    database_url: str,
    schema: str,
    home: Path,
    *,
    channels: Sequence[Channel] = (),
    tell: Tell = lambda text: None,
) -> DrillReport:
    """Play the incidents, with the tables in ``schema`` of a database, which must be migrated.

    ``channels`` are told, too, besides the drill's own webhook.

    Raises:
        ConfigurationError: a channel has an address that Apprise does not know.
        PartitionsFailedError: an epoch could not be stored.
        StorageError: the database is away or refuses.
    """
    started = time.monotonic()
    simulation = Simulation(
        config("minimal"),
        VALIDATORS,
        seed=11,
        incidents=[Miss([MISSING], BAD_EPOCHS), Offline(CLUSTER, BAD_EPOCHS)],
    )
    slots = simulation.parameters.first_slot(LAST_EPOCH)
    slot_seconds = simulation.parameters.slot_duration_ms / 1000
    # The chain's time reaches this machine's at the end, so that nothing lies in the future.
    genesis_time = int(time.time() - (slots + 1) * slot_seconds)
    with (
        local_webhook() as hook,
        simulated_node(simulation, genesis_time=genesis_time) as served,
    ):
        told = [Channel("drill", hook.address), *channels]
        with _opened_pipeline(database_url, schema, home, served.url, told) as pipeline:
            drill = _Drill(pipeline, served.node, hook, told, tell)
            drill.play()
    return DrillReport(drill.proofs, hook.received, slot_seconds, time.monotonic() - started)


class _Drill:
    """The service as it runs: at every slot, what the ticks of its sensors would do."""

    def __init__(
        self,
        pipeline: Pipeline,
        node: SimulatedNode,
        hook: Webhook,
        channels: Sequence[Channel],
        tell: Tell,
    ) -> None:
        self.proofs: list[Proof] = []
        self._pipeline = pipeline
        self._node = node
        self._chain = node.simulation
        self._hook = hook
        self._tell = tell
        self._sender = Sender(
            {channel.name: send_to(channel) for channel in channels}, Timing(now=self._now)
        )
        self._follower = LiveFollower(
            pipeline.open_client,
            lambda: pipeline.warehouse,
            pipeline.watch,
            POLLING_INTERVAL_SLOTS,
            now_ms=lambda: round(node.now() * 1000),
        )
        self._next_epoch = FIRST_EPOCH
        self._messages_shown = 0

    def play(self) -> None:
        """Let the chain go on to the end, slot by slot."""
        first_slot = self._chain.parameters.first_slot
        self._chain.advance_to_epoch(FIRST_EPOCH + 1)
        self._store_labels()
        self._expect(
            "a validator misses", first_slot(BAD_EPOCHS[0]), "missed_attestations", MISSING
        )
        self._expect(
            "a cluster goes dark",
            first_slot(BAD_EPOCHS[0]),
            "missed_attestations",
            "operator:dark",
        )
        busy = range(first_slot(EVENT_EPOCH), first_slot(EVENT_EPOCH + 1))
        for slot in range(self._chain.head_slot, first_slot(LAST_EPOCH) + 1):
            self._chain.advance_to(slot)
            if slot == first_slot(EVENT_EPOCH):
                self._add_events()
            if slot in busy or slot % self._chain.parameters.slots_per_epoch == 0:
                self._tick(slot)

    def _add_events(self) -> None:
        """Script what is about the epoch's proposers, who are known only now."""
        first = self._chain.head_slot
        silent = {MISSING, SLASHED, *CLUSTER}
        proposers = self._chain.proposers(EVENT_EPOCH).tolist()
        skipped, proposer = next(
            (first + number, proposer)
            for number, proposer in enumerate(proposers)
            if number > 0 and proposer not in silent
        )
        slashing = next(
            first + number
            for number, proposer in enumerate(proposers)
            if number > 0 and first + number != skipped and proposer not in silent
        )
        self._chain.add(SkippedSlot(skipped), ProposerSlashing(slashing, SLASHED))
        self._expect("a proposer skips", skipped, "missed_proposal", proposer)
        self._expect("a slashing appears", slashing, "slashing", SLASHED)

    def _expect(self, incident: str, slot: int, kind: str, whose: int | str) -> None:
        subject = f"validator:{whose}" if isinstance(whose, int) else whose
        ends = kind == "missed_attestations"
        self.proofs.append(Proof(Expected(incident, slot, kind, subject, ends)))

    def _now(self) -> datetime:
        """The chain's time."""
        return datetime.fromtimestamp(self._node.now(), tz=UTC)

    def _tick(self, slot: int) -> None:
        started = time.monotonic()
        report = self._follower.look()
        self._materialize(
            newest_closed_epoch(report.head_slot, self._chain.parameters.slots_per_epoch)
        )
        outcome = look_for_alerts(self._pipeline, self._now())
        self._note_checks(outcome, slot, started)
        self._note_rows(slot, started)
        sent = self._sender.send_due(self._pipeline.warehouse.database)
        for channel, problem in sent.problems.items():
            self._tell(f"slot {slot}: channel {channel}: {problem}")
        self._note_messages(slot, started)

    def _materialize(self, newest: int) -> None:
        """Store the epochs whose window has closed."""
        pipeline = self._pipeline
        epochs = [*range(self._next_epoch, newest + 1)]
        if not epochs:
            return
        stored = load_epochs(pipeline.fact_reader(pipeline.warehouse, provisional=True), epochs)
        if stored.failures:
            raise PartitionsFailedError(f"epochs failed in the drill: {stored.failures}")
        self._next_epoch = newest + 1
        make_due_standings(pipeline.warehouse, pipeline.standing_rules)

    def _store_labels(self) -> None:
        pipeline = self._pipeline
        registry, _ = asyncio.run(read_watched(pipeline))
        labels = label_rows(pipeline.watch_list, registry)
        pipeline.warehouse.change_table(
            "validator_labels", lambda stored: merge_labels(stored, labels, 0)
        )

    def _note_checks(self, outcome: AlertsOutcome, slot: int, started: float) -> None:
        arrived = Arrived(slot, time.monotonic() - started)
        found = {
            (finding.kind, finding.subject)
            for evaluation in outcome.evaluations
            for finding in evaluation.findings
        }
        failed = {
            event.check_name
            for evaluation in outcome.evaluations
            for event in alert_check_events(self._pipeline.network, evaluation)
            if not event.passed
        }
        for proof in self.proofs:
            kind, subject = proof.expected.kind, proof.expected.subject
            if proof.check is None and (kind, subject) in found and kind in failed:
                proof.check = arrived

    def _note_rows(self, slot: int, started: float) -> None:
        arrived = Arrived(slot, time.monotonic() - started)
        alerts = list_alerts(self._pipeline.warehouse, live_only=False, limit=1000)
        rows = set(zip(alerts["alert_type"], alerts["subject"], strict=True))
        for proof in self.proofs:
            key = (proof.expected.kind, proof.expected.subject)
            if proof.row is None and key in rows:
                proof.row = arrived

    def _note_messages(self, slot: int, started: float) -> None:
        for message in self._hook.received[self._messages_shown :]:
            arrived = Arrived(slot, message.at - started)
            self._tell(f"slot {slot}: {message.title}")
            for proof in self.proofs:
                for title in (message.title, *message.body.split("\n")):
                    if not title.endswith(proof.expected.title):
                        continue
                    if title.startswith("[drill] over: "):
                        proof.end = proof.end or arrived
                    else:
                        proof.message = proof.message or arrived
        self._messages_shown = len(self._hook.received)


@contextmanager
def _opened_pipeline(
    database_url: str, schema: str, home: Path, node_url: str, channels: Sequence[Channel]
) -> Iterator[Pipeline]:
    settings = Settings.model_validate(
        {
            "home": home,
            "network": schema,
            "beacon_node_url": [node_url],
            "watch": "network",
            "validators": [
                {"indices": [f"0..{CLUSTER[0] - 1}", f"{CLUSTER[-1] + 1}..{VALIDATORS - 1}"]},
                {
                    "indices": [f"{CLUSTER[0]}..{CLUSTER[-1]}"],
                    "labels": {"operator": "dark"},
                },
            ],
            "rate_limit": {"requests_per_second": 10_000, "burst": 100_000},
        }
    )
    wired = pipeline_of(settings, lambda: database_url)
    notifier = Notifier(channels, Templates("drill"))
    pipeline = replace(wired, alerting=Alerting(wired.alerting.rules, notifier))
    try:
        yield pipeline
    finally:
        pipeline.warehouse.database.close()
