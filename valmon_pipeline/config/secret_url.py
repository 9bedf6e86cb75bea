"""Addresses that may carry credentials: usable, comparable, but never printed whole."""

from __future__ import annotations

import re
from typing import final
from urllib.parse import SplitResult, urlsplit

_HIDDEN = "…"
_PLAIN_HOST = re.compile(r"[\w.:%-]*")


@final
class SecretUrl:
    """A URL whose ``str`` and ``repr`` leave out user info, query, and a node's path.

    Hosted nodes take their access token in the path or the query, databases a password in the
    user info; ``reveal()`` is for the one place that connects.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep ``text`` as it is; nothing is checked here."""
        self._text = text

    def reveal(self) -> str:
        """Return the address with its credentials, for connecting, not for logging."""
        return self._text

    def __str__(self) -> str:
        try:
            parts = urlsplit(self._text)
            port = parts.port
        except ValueError:
            return _HIDDEN
        if "@" in parts.path + parts.query + parts.fragment:
            return _HIDDEN  # an unescaped sign in a password: what looks like the host is not
        if not parts.scheme or (not parts.hostname and "postgres" not in parts.scheme):
            return _HIDDEN
        host = parts.hostname or ""
        if not _PLAIN_HOST.fullmatch(host):
            return _HIDDEN
        host = f"[{host}]" if ":" in host else host
        address = f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
        return address + _redacted_tail(parts)

    def __repr__(self) -> str:
        return f"SecretUrl({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretUrl) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


def _redacted_tail(parts: SplitResult) -> str:
    """Keep what helps to recognise the address: the database's name, or nothing of a path."""
    database = parts.scheme.startswith("postgres")
    path = parts.path if database or parts.path in ("", "/") else f"/{_HIDDEN}"
    return path + (f"?{_HIDDEN}" if parts.query else "")


def is_url_of(text: str, schemes: tuple[str, ...]) -> bool:
    """Say whether ``text`` is a usable address: known scheme, valid port, nothing unescaped."""
    if re.search(r"\s", text):
        return False
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    unescaped = parts.fragment or "@" in parts.path or parts.netloc.count("@") > 1
    plain = _PLAIN_HOST.fullmatch(parts.hostname or "") is not None
    return parts.scheme in schemes and port != 0 and plain and not unescaped
