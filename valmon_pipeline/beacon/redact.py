"""Addresses and texts without secrets, fit for messages and logs."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Final, TypeVar
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

ErrorT = TypeVar("ErrorT", bound=BaseException)

HIDDEN: Final = "…"
_SHORTEST_SECRET: Final = 4
"""Shorter names are no secrets, and would be hidden in every second word."""
_PLAIN_WORDS: Final = frozenset(
    {
        *("beacon", "node", "nodes", "http", "https", "rest", "consensus", "ethereum"),
        *("mainnet", "sepolia", "holesky", "hoodi", "gnosis", "chiado"),
        *("lighthouse", "prysm", "teku", "nimbus", "lodestar", "grandine"),
    }
)
"""Parts of an address that are no tokens."""


def redact_url(url: str) -> str:
    """Return scheme, host and port of ``url``; everything that can carry a secret is left out.

    User and password go, and so do path and query: hosted nodes put their access tokens there.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "<unreadable address>"
    if not parts.scheme or not host:
        return "<unreadable address>"
    if ":" in host:
        host = f"[{host}]"
    hidden = "/…" if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{host}{f':{port}' if port is not None else ''}{hidden}"


class Secrets:
    """The secrets in one node's address, to be hidden wherever the node repeats them.

    User, password, every part of the path that is not a plain word, and the values of the query;
    as they are, decoded, encoded, and as the login that is sent for them.
    """

    def __init__(self, url: str = "") -> None:
        found = sorted(set(_spellings(url)), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, found)), re.IGNORECASE)
        self._any = bool(found)

    def hide(self, text: str) -> str:
        """Return ``text`` with every secret replaced by an ellipsis."""
        return self._pattern.sub(HIDDEN, text) if self._any else text

    def hide_in(self, error: ErrorT) -> ErrorT:
        """Hide the secrets in the messages of an error and of its causes; return the error."""
        if self._any:
            seen: set[int] = set()
            one: BaseException | None = error
            while one is not None and id(one) not in seen:
                seen.add(id(one))
                one.args = tuple(self.hide(a) if isinstance(a, str) else a for a in one.args)
                one = one.__cause__ or one.__context__
        return error


def _spellings(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        user, password = parts.username or "", parts.password or ""
    except ValueError:
        return
    named = [user, *parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    secrets = [password]
    secrets += [
        one for one in named if len(one) >= _SHORTEST_SECRET and one.lower() not in _PLAIN_WORDS
    ]
    if user or password:
        login = f"{unquote(user)}:{unquote(password)}"
        yield base64.b64encode(login.encode()).decode()
    for secret in filter(None, secrets):
        plain = unquote(secret)
        yield from {secret, plain, quote(plain, safe=""), quote_plus(plain)}
