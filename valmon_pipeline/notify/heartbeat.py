"""Pinging a dead man's switch: a page that raises the alarm when nobody asks for it any more."""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

import httpx

from valmon_pipeline.alerting.templates import Message
from valmon_pipeline.config import SecretUrl
from valmon_pipeline.notify.errors import DeliveryError
from valmon_pipeline.notify.sender import Send

SECONDS: Final = 5.0
# They log whole addresses: httpx that of every request, httpcore what it sends.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def ping(url: SecretUrl) -> Send:
    """How a heartbeat is sent."""
    return partial(_ping, url)


def _ping(url: SecretUrl, message: Message, severity: str) -> None:
    try:
        answer = httpx.get(url.reveal(), timeout=SECONDS, follow_redirects=True)
    except httpx.HTTPError as error:
        raise DeliveryError(f"{url}: {type(error).__name__}") from None
    if not answer.is_success:
        raise DeliveryError(f"{url}: HTTP {answer.status_code}")
