"""Addresses fit for messages and logs."""

from __future__ import annotations

from urllib.parse import urlsplit


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
