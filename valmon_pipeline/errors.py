"""Every error valmon raises on purpose, as one small tree.

A message says what happened, where (endpoint, epoch, field, value) and what the reader can do.
Errors never contain credentials: node and database addresses are redacted before they get here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class ValmonError(Exception):
    """Base of all errors that are valmon's own; the command line prints only the message."""


def brief_reason(error: ValmonError) -> str:
    """Return an error's short sentence if it has one, else its message."""
    return (isinstance(error, BeaconApiError) and error.summary) or str(error)


class ConfigurationError(ValmonError):
    """The configuration file or the environment is wrong; the message lists every mistake."""


class UnsupportedForkError(ValmonError):
    """The chain is at a fork whose rules this version does not implement."""


class ChainRuleViolationError(ValmonError):
    """Data contradict the consensus rules, e.g. aggregation bits longer than their committees."""


class ChainChangedError(ChainRuleViolationError):
    """Answers about one epoch belong to different chains: the chain was reorganized in between."""


class ContractViolationError(ValmonError):
    """A frame breaks the contract of ``table`` and must not be stored; ``epochs`` are those of the
    rows that do, as far as that can be told."""

    def __init__(
        self, message: str, *, table: str | None = None, epochs: tuple[int, ...] = ()
    ) -> None:
        super().__init__(message)
        self.table = table
        self.epochs = epochs


class EpochsFailedError(ValmonError):
    """Epochs of a batch cannot be materialized; ``reasons`` has one for each of them."""

    def __init__(self, message: str, reasons: Mapping[int, str]) -> None:
        super().__init__(message)
        self.reasons = dict(reasons)


class BeaconApiError(ValmonError):
    """Base of everything that went wrong while talking to a beacon node.

    ``summary`` says the same in one short sentence; "" where the message does.
    """

    def __init__(self, message: str = "", *, summary: str = "") -> None:
        super().__init__(message)
        self.summary = summary


class RefusalKind(StrEnum):
    """Meaning of a refusal, found by client and route: the status alone does not tell it."""

    GONE = "gone"
    """Pruned or never kept; this node will not have it again."""
    NOT_YET = "not yet"
    """The chain, or the node, has not reached it."""
    NOT_FOUND = "not found"
    """Gone, not there yet, or never there: the client answers all three alike."""
    NO_SUCH_ROUTE = "no such route"
    """The client, or its settings, do not offer the endpoint."""
    OVERLOADED = "overloaded"
    """Too busy, or a gateway in front of the node is: passes by itself."""
    FAILED = "failed"
    """An internal error of unknown meaning: may pass by itself."""
    SYNCING = "syncing"
    """The node does not answer this until it has caught up."""
    EXECUTION_CLIENT = "execution client"
    """The node needs its execution client for the answer, and cannot reach it."""
    BAD_REQUEST = "bad request"
    """The node does not accept a parameter, e.g. an index that it does not know."""
    REDIRECTED = "redirected"
    """The address leads to another one."""
    FORBIDDEN = "forbidden"
    """The node refuses this caller, or this kind of request."""


class _RefusalError(BeaconApiError):
    """A refusal with its meaning; see the attributes of the subclasses."""

    def __init__(
        self,
        message: str,
        *,
        kind: RefusalKind | None = None,
        status: int | None = None,
        path: str | None = None,
        said: str = "",
        unknown_index: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.path = path
        self.said = said
        self.unknown_index = unknown_index


class BeaconUnreachableError(BeaconApiError):
    """No usable answer before the deadline: refused connections, timeouts, 429 and passing 5xx."""


class ObjectUnavailableError(_RefusalError):
    """The node does not have the object, or does not offer it: 404, 400, or a permanent 5xx.

    ``kind`` is the meaning (None: not a node's refusal, e.g. of an archive), ``status`` the HTTP
    status, ``path`` the path that was asked, ``said`` the node's own words without secrets, and
    ``unknown_index`` the validator index that the node does not know, where it names one.
    """


class RequestRefusedError(_RefusalError):
    """The node refused the request itself: 401, 403, other 4xx, 501, a redirect.

    Attributes as of :class:`ObjectUnavailableError`.
    """


class MalformedAnswerError(BeaconApiError):
    """The answer is not what the API promises: truncated, not JSON, or a field is wrong."""


class NodeNotReadyError(BeaconApiError):
    """The node is syncing, optimistic, or of another network: its answers must not be stored."""


class EpochNotFinalError(BeaconApiError):
    """The epoch was asked for before the chain has settled it; try again when it is finalized."""


class StorageError(ValmonError):
    """The database is away, full, of another network, or refused a write; nothing was stored."""


class PartitionsFailedError(ValmonError):
    """Some epochs of a run failed, the others are stored. Gives the reason per epoch."""
