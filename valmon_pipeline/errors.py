"""Every error valmon raises on purpose, as one small tree.

A message says what happened, where (endpoint, epoch, field, value) and what the reader can do.
Errors never contain credentials: node and database addresses are redacted before they get here.
"""

from __future__ import annotations


class ValmonError(Exception):
    """Base of all errors that are valmon's own; the command line prints only the message."""


class ConfigurationError(ValmonError):
    """The configuration file or the environment is wrong; the message lists every mistake."""


class UnsupportedForkError(ValmonError):
    """The chain is at a fork whose rules this version does not implement."""


class ChainRuleViolationError(ValmonError):
    """Data contradict the consensus rules, e.g. aggregation bits longer than their committees."""


class ChainChangedError(ChainRuleViolationError):
    """Answers about one epoch belong to different chains: the chain was reorganized in between."""


class ContractViolationError(ValmonError):
    """A frame breaks the contract of ``table`` and must not be stored."""

    def __init__(self, message: str, *, table: str | None = None) -> None:
        super().__init__(message)
        self.table = table


class BeaconApiError(ValmonError):
    """Base of everything that went wrong while talking to a beacon node."""


class BeaconUnreachableError(BeaconApiError):
    """No usable answer before the deadline: refused connections, timeouts, 429 and 5xx."""


class ObjectUnavailableError(BeaconApiError):
    """The node answered that it does not have the object (404, or 400 for pruned history)."""


class RequestRefusedError(BeaconApiError):
    """The node refused the request itself (other 4xx, 501)."""


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
