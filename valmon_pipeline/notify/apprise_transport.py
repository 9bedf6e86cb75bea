"""Sending one message through Apprise, without a word of the address in what is told or logged."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Mapping
from typing import Final

import apprise

from valmon_pipeline.alerting.templates import Message
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline.notify.errors import DeliveryError

SOCKET_SECONDS: Final = 4.0
"""What connecting may take, and what each wait for the answer; the sender has a limit on the
whole."""

_TYPES: Final[Mapping[str, apprise.NotifyType]] = {
    "info": apprise.NotifyType.INFO,
    "warning": apprise.NotifyType.WARNING,
    "critical": apprise.NotifyType.FAILURE,
}
_LOGGER: Final = logging.getLogger("apprise")
# Its texts may name hosts and users; what is of interest of them is in the errors raised here.
_LOGGER.propagate = False
_LOGGER.addHandler(logging.NullHandler())
# What they say when they are asked for details has whole addresses in it.
for _name in ("apprise", "urllib3"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def target_of(name: str, address: str) -> apprise.NotifyBase:
    """What Apprise sends through for the address of channel ``name``.

    Raises:
        ConfigurationError: Apprise does not know such an address.
    """
    with warnings.catch_warnings():
        # It looks for a module that Python 3.13 no longer has.
        warnings.filterwarnings("ignore", "'imghdr' is deprecated", DeprecationWarning)
        target = apprise.Apprise.instantiate(address, suppress_exceptions=True)
    if not isinstance(target, apprise.NotifyBase):
        scheme = address.partition("://")[0]
        known = re.fullmatch(r"[a-z0-9+.-]{1,20}", scheme) and "://" in address
        told = f" of {scheme}://" if known else ""
        raise ConfigurationError(
            f"the address of channel {name} is not one{told} that Apprise can send to: see "
            "https://appriseit.com/services/ for how to write it"
        )
    target.socket_connect_timeout = SOCKET_SECONDS
    target.socket_read_timeout = SOCKET_SECONDS
    return target


def send(target: apprise.NotifyBase, message: Message, severity: str) -> None:
    """Send a message.

    Raises:
        DeliveryError: it was not accepted.
    """
    heard = _Heard()
    _LOGGER.addHandler(heard)
    try:
        accepted = target.notify(
            body=message.body, title=message.title, notify_type=_TYPES[severity]
        )
    except Exception as error:  # noqa: BLE001
        # A plugin's mistake is a failed delivery, too; its text may quote the address.
        raise DeliveryError(f"{target.service_name}: {type(error).__name__}") from None
    finally:
        _LOGGER.removeHandler(heard)
    if not accepted:
        raise DeliveryError(f"{target.service_name} did not accept it{heard.why}")


class _Heard(logging.Handler):
    """Which error Apprise met in this thread: HTTP's number, or that there was no connection."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.why = ""
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._thread:
            return
        text = record.getMessage()
        status = re.search(r"error=(\d{3})\b", text)
        if status is not None:
            self.why = f": HTTP {status[1]}"
        elif "onnection error" in text:
            self.why = ": no connection, or no answer in time"
