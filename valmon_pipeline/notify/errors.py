"""Why a message was not delivered."""

from __future__ import annotations


class DeliveryError(Exception):
    """A message was not accepted; the text holds nothing of the address."""
