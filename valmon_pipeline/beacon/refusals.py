"""Meaning of a refusal, by client and route: one table for all clients.

Permanent refusals come as 400, 404, 500, 503 and 204, passing ones as 400, 404, 500 and 503, so
the status alone tells little. The rules follow the clients' own source code; ``docs/nodes.md``
says which versions were read. The first rule that fits decides; without one the status does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from valmon_pipeline.beacon.consensus_client import ConsensusClient
from valmon_pipeline.errors import RefusalKind

_ALL: Final = frozenset(ConsensusClient)
_LIGHTHOUSE: Final = frozenset({ConsensusClient.LIGHTHOUSE})
_PRYSM: Final = frozenset({ConsensusClient.PRYSM})
_TEKU: Final = frozenset({ConsensusClient.TEKU})
_NIMBUS: Final = frozenset({ConsensusClient.NIMBUS})
_LODESTAR: Final = frozenset({ConsensusClient.LODESTAR})
_GRANDINE: Final = frozenset({ConsensusClient.GRANDINE})

PASSING: Final = frozenset(
    {RefusalKind.OVERLOADED, RefusalKind.FAILED, RefusalKind.EXECUTION_CLIENT}
)
"""Refusals that another attempt a moment later can turn into an answer."""
_INDEX: Final = re.compile(r"(?:index|validator)\D{0,20}(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal: its meaning and the node's own words (without secrets)."""

    kind: RefusalKind
    status: int
    path: str
    said: str
    unknown_index: int | None = None

    @property
    def passes(self) -> bool:
        """True if another attempt can help."""
        return self.kind in PASSING


@dataclass(frozen=True, slots=True)
class _Rule:
    """``route`` is a regular expression on the endpoint, ``words`` one on the node's words ("^$":
    it said nothing). A rule with words also fits a client that did not say which one it is."""

    clients: frozenset[ConsensusClient]
    statuses: frozenset[int]
    kind: RefusalKind
    route: str = ""
    words: str = ""

    def fits(self, client: ConsensusClient, status: int, endpoint: str, said: str) -> bool:
        unknown = client is ConsensusClient.UNKNOWN and self.words not in ("", "^$")
        return (
            status in self.statuses
            and (client in self.clients or unknown)
            and re.search(self.route, endpoint) is not None
            and re.search(self.words, said, re.IGNORECASE) is not None
        )


def _rule(
    clients: frozenset[ConsensusClient],
    statuses: int | tuple[int, ...],
    kind: RefusalKind,
    *,
    route: str = "",
    words: str = "",
) -> _Rule:
    listed = (statuses,) if isinstance(statuses, int) else statuses
    return _Rule(clients, frozenset(listed), kind, route, words)


_STATES: Final = r"/(beacon|debug/beacon)/states/"
_REWARDS: Final = r"/rewards/"
_BLOCKS: Final = r"/beacon/(blocks|blinded_blocks)/"
_DUTIES: Final = r"/validator/duties/"
_PROPOSERS: Final = r"/duties/proposer/"

_RULES: Final[tuple[_Rule, ...]] = (
    # Lodestar answers every internal error with 500; what it does not keep is one of them.
    _rule(
        _LODESTAR,
        500,
        RefusalKind.GONE,
        words=r"historical state regen is not enabled|failed to generate historical state"
        r"|no shuffling found|empty sync ?committee ?cache|pre-state is unavailable"
        r"|DECISION_ROOT_EPOCH_OUT_OF_RANGE|NO_SYNC_COMMITTEE|REGEN_ERROR_",
    ),
    # The same words before the block at the end of the next epoch is there, and after it is gone.
    _rule(
        _LODESTAR,
        500,
        RefusalKind.NOT_FOUND,
        route=_REWARDS,
        words="state is unavailable for slot",
    ),
    _rule(_LODESTAR, 400, RefusalKind.GONE, words="no cached state available"),
    _rule(_LODESTAR, 404, RefusalKind.NOT_YET, words="state not found for id"),
    # Teku: 503 for duties whose state is gone, one text for too early and too late.
    _rule(_TEKU, 503, RefusalKind.GONE, route=_PROPOSERS, words="service unavailable"),
    _rule(_TEKU, 503, RefusalKind.GONE, route=r"/duties/attester/", words="currently syncing"),
    _rule(_TEKU, 400, RefusalKind.NOT_FOUND, route=_REWARDS, words="invalid epoch range"),
    _rule(_TEKU, 404, RefusalKind.GONE, route=_STATES),
    _rule(_TEKU, 404, RefusalKind.NOT_FOUND, route=_REWARDS),
    _rule(_TEKU, 400, RefusalKind.NO_SUCH_ROUTE, words="liveness tracking is not enabled"),
    _rule(_ALL, 204, RefusalKind.SYNCING, words="^$"),
    # Prysm: too early is 404 or 500, its execution client's absence is 400.
    _rule(_PRYSM, 500, RefusalKind.NOT_YET, words="in the future"),
    _rule(_PRYSM, 404, RefusalKind.NOT_YET, words="rewards are available after"),
    _rule(
        _PRYSM,
        (400, 500),
        RefusalKind.EXECUTION_CLIENT,
        route=_BLOCKS,
        words="could not reconstruct full execution payload",
    ),
    _rule(_PRYSM, 404, RefusalKind.GONE, route=_STATES, words="state not found"),
    _rule(_PRYSM, 500, RefusalKind.GONE, words="unable to retrieve parent of block"),
    _rule(_PRYSM, 400, RefusalKind.BAD_REQUEST, words="is too large"),
    _rule(_PRYSM, 503, RefusalKind.OVERLOADED, words="request timed out"),
    # Grandine.
    _rule(_GRANDINE, 404, RefusalKind.NO_SUCH_ROUTE, words="^$"),
    _rule(_GRANDINE, 500, RefusalKind.NOT_YET, words="too far in the future"),
    _rule(
        _GRANDINE,
        500,
        RefusalKind.GONE,
        words="epoch is before previous|state not found in fork choice store",
    ),
    _rule(_GRANDINE, 500, RefusalKind.NO_SUCH_ROUTE, words="liveness tracking not enabled"),
    _rule(_GRANDINE, 404, RefusalKind.GONE, route=_STATES, words="state not found"),
    # Lighthouse.
    _rule(_LIGHTHOUSE, 404, RefusalKind.NO_SUCH_ROUTE, words="^NOT_FOUND$"),
    _rule(
        _LIGHTHOUSE, 404, RefusalKind.GONE, words="beacon state at slot|parent state is not avail"
    ),
    # The same words before the state is there, and after it is gone.
    _rule(_LIGHTHOUSE, 404, RefusalKind.NOT_FOUND, words="missing state"),
    _rule(_LIGHTHOUSE, 500, RefusalKind.GONE, route=r"/duties/sync/", words="unhandled_error"),
    _rule(
        _LIGHTHOUSE,
        500,
        RefusalKind.EXECUTION_CLIENT,
        route=_BLOCKS,
        words="ExecutionLayerErrorPayloadReconstruction|BlockHashMissingFromExecutionLayer",
    ),
    _rule(
        _LIGHTHOUSE,
        500,
        RefusalKind.OVERLOADED,
        words="the server is overloaded|task was dropped",
    ),
    # Nimbus.
    _rule(_NIMBUS, 404, RefusalKind.NO_SUCH_ROUTE, words="^$"),
    _rule(_NIMBUS, 404, RefusalKind.NO_SUCH_ROUTE, route=r"/rewards/attestations/"),
    _rule(_NIMBUS, 404, RefusalKind.GONE, words="unable to load state for parent block"),
    _rule(_NIMBUS, 404, RefusalKind.GONE, route=_STATES, words="could not get requested state"),
    _rule(_NIMBUS, 400, RefusalKind.GONE, route=_DUTIES, words="access a pruned historical state"),
    _rule(_NIMBUS, 500, RefusalKind.NO_SUCH_ROUTE, words="not implemented yet"),
    # Any client.
    _rule(_ALL, 503, RefusalKind.SYNCING, words=r"\bsyncing\b"),
    _rule(
        _ALL,
        (400, 404),
        RefusalKind.NOT_YET,
        words=r"can(not| not) be greater than|ahead of the (next|current)|too far ahead"
        r"|too far in the future|is in the future|future (slot|epoch)",
    ),
    _rule(_ALL, 400, RefusalKind.GONE, words=r"too far in the past|prun(ed|ing)|historical state"),
    _rule(
        _ALL,
        400,
        RefusalKind.BAD_REQUEST,
        words=r"(unknown|invalid|not known|no such) (validator|pubkey|public key|index)"
        r"|(validator|index)[^.]{0,40}(unknown|not found|does not exist|out of (range|bounds))",
    ),
)

_BY_STATUS: Final = {
    204: RefusalKind.SYNCING,
    400: RefusalKind.BAD_REQUEST,
    401: RefusalKind.FORBIDDEN,
    403: RefusalKind.FORBIDDEN,
    404: RefusalKind.NOT_FOUND,
    405: RefusalKind.NO_SUCH_ROUTE,
    410: RefusalKind.GONE,
    408: RefusalKind.OVERLOADED,
    429: RefusalKind.OVERLOADED,
    500: RefusalKind.FAILED,
    501: RefusalKind.NO_SUCH_ROUTE,
    502: RefusalKind.OVERLOADED,
    503: RefusalKind.OVERLOADED,
    504: RefusalKind.OVERLOADED,
}


def depends_on_client(status: int, endpoint: str, said: str) -> bool:
    """Return True if it takes the client's name to say what the refusal means."""
    return any(
        rule.clients != _ALL and rule.fits(next(iter(rule.clients)), status, endpoint, said)
        for rule in _RULES
    )


def classify(client: ConsensusClient, status: int, path: str, endpoint: str, said: str) -> Refusal:
    """Return the meaning of an answer that is not 200.

    ``endpoint`` is the path without its slots, epochs and ids (``request_observer.endpoint_of``),
    ``said`` the node's words.
    """
    kind = next(
        (rule.kind for rule in _RULES if rule.fits(client, status, endpoint, said)),
        _BY_STATUS.get(status),
    )
    if kind is None:
        redirects = 300 <= status < 400
        kind = RefusalKind.REDIRECTED if redirects else RefusalKind.FORBIDDEN
        if status >= 500:
            kind = RefusalKind.FAILED
    index = _INDEX.search(said) if kind is RefusalKind.BAD_REQUEST else None
    return Refusal(kind, status, path, said, None if index is None else int(index[1]))
