"""Fields of a node's answers that are missing or unknown, reported once per node and version.

Decoding tolerates both: optional fields have a default, and unknown ones are skipped. Only the
first answer of each endpoint is compared, so that this costs nothing: the same software gives the
same fields every time. A field that valmon cannot do without is an error of the decoding.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

logger = logging.getLogger(__name__)

_MOST_BYTES: Final = 1 << 20
"""Longer answers are not looked at: it would take too long."""
_ENVELOPE: Final = frozenset(
    {"data", "execution_optimistic", "finalized", "version", "dependent_root"}
)
_OF_A_STATE_OR_BLOCK: Final = frozenset({"execution_optimistic", "finalized"})


@dataclass(frozen=True, slots=True)
class _Fields:
    """``known`` are those of ``data``, or of its rows; ``wanted`` are read where they are given."""

    known: frozenset[str]
    wanted: frozenset[str] = frozenset()
    wanted_of_envelope: frozenset[str] = frozenset()


def _of(known: str, wanted: str = "", envelope: frozenset[str] = _OF_A_STATE_OR_BLOCK) -> _Fields:
    return _Fields(frozenset(known.split()), frozenset(wanted.split()), envelope)


_NOTHING: Final[frozenset[str]] = frozenset()
_BEACON: Final = "/eth/v1/beacon"
_FIELDS: Final[Mapping[str, _Fields]] = {
    f"{_BEACON}/genesis": _of(
        "genesis_time genesis_validators_root genesis_fork_version", envelope=_NOTHING
    ),
    "/eth/v1/node/version": _of("version", envelope=_NOTHING),
    "/eth/v1/node/syncing": _of(
        "head_slot sync_distance is_syncing is_optimistic el_offline",
        "is_optimistic el_offline",
        envelope=_NOTHING,
    ),
    f"{_BEACON}/states/{{}}/finality_checkpoints": _of(
        "previous_justified current_justified finalized"
    ),
    f"{_BEACON}/headers/{{}}": _of("root canonical header", "canonical"),
    "/eth/v2/beacon/blocks/{}": _of(
        "message signature", envelope=_OF_A_STATE_OR_BLOCK | {"version"}
    ),
    f"{_BEACON}/states/{{}}/validators": _of("index balance status validator"),
    f"{_BEACON}/states/{{}}/committees": _of("index slot validators"),
    f"{_BEACON}/states/{{}}/sync_committees": _of("validators validator_aggregates"),
    f"{_BEACON}/states/{{}}/pending_deposits": _of(
        "pubkey withdrawal_credentials amount signature slot"
    ),
    f"{_BEACON}/states/{{}}/pending_consolidations": _of("source_index target_index"),
    f"{_BEACON}/rewards/attestations/{{}}": _of("ideal_rewards total_rewards"),
    f"{_BEACON}/rewards/blocks/{{}}": _of(
        "proposer_index total attestations sync_aggregate proposer_slashings attester_slashings"
    ),
    f"{_BEACON}/rewards/sync_committee/{{}}": _of("validator_index reward"),
    "/eth/v1/validator/duties/proposer/{}": _of(
        "pubkey validator_index slot", envelope=frozenset({"execution_optimistic"})
    ),
    "/eth/v1/validator/duties/attester/{}": _of(
        "pubkey validator_index committee_index committee_length committees_at_slot "
        "validator_committee_index slot",
        envelope=frozenset({"execution_optimistic"}),
    ),
}


@dataclass(frozen=True, slots=True)
class FieldFinding:
    """One endpoint's missing and unknown fields, with paths like ``data.canonical``."""

    endpoint: str
    missing: tuple[str, ...]
    unknown: tuple[str, ...]


class AnswerFields:
    """The findings of this process, by node and version. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked_at: set[tuple[str, str, str]] = set()
        self.findings: dict[tuple[str, str], list[FieldFinding]] = {}
        self.counts: Counter[str] = Counter()
        """Missing and unknown fields seen, by ``missing`` and ``unknown``."""

    def look_at(self, node: str, version: str, endpoint: str, content: bytes) -> None:
        """Look at an answer, unless one of this endpoint was looked at; report what is found."""
        fields = _FIELDS.get(endpoint)
        key = node, version, endpoint
        if fields is None or key in self._looked_at or len(content) > _MOST_BYTES:
            return
        finding = _compared(endpoint, fields, content)
        with self._lock:
            if finding is None or key in self._looked_at:
                return
            self._looked_at.add(key)
            if not (finding.missing or finding.unknown):
                return
            self.findings.setdefault((node, version), []).append(finding)
            self.counts["missing"] += len(finding.missing)
            self.counts["unknown"] += len(finding.unknown)
        logger.info(
            "%s (%s): its answers to %s%s%s; valmon goes on without. This is reported once",
            node,
            version,
            endpoint,
            f" lack {', '.join(finding.missing)}" if finding.missing else "",
            f" have fields that valmon does not know: {', '.join(finding.unknown)}"
            if finding.unknown
            else "",
        )


def _compared(endpoint: str, fields: _Fields, content: bytes) -> FieldFinding | None:
    """None if the answer has no row to be looked at."""
    try:
        answer = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError):
        return None
    data = answer.get("data")
    row = data[0] if isinstance(data, list) and data else data
    if not isinstance(row, dict):
        return None
    missing = [name for name in sorted(fields.wanted_of_envelope) if name not in answer]
    missing += [f"data.{name}" for name in sorted(fields.wanted) if name not in row]
    unknown = [name for name in answer if name not in _ENVELOPE]
    unknown += [f"data.{name}" for name in row if name not in fields.known]
    return FieldFinding(endpoint, tuple(missing), tuple(name[:60] for name in unknown[:20]))


ANSWER_FIELDS: Final = AnswerFields()
"""Those of this process: clients are opened and closed all the time."""
